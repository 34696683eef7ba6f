import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.config import schema
from tapjax.data.datasets import load_arrays
from tapjax.data.sampling import device_data
from tapjax.recipes.tap import recipe
from tapjax.step import blocks, step

pytestmark = pytest.mark.usefixtures("full_compile")

K, N = 5, 3
ARCHITECTURES = ["mlp:depth=1,width=8", pytest.param("cnn:channels=2-3", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def parts(request):
    cfg = schema.defaults()
    cfg.model.name = request.param
    cfg.data.batch_size, cfg.steps = 8, K * N
    arrays = load_arrays("digits", 100, 50)
    made = recipe(cfg, arrays)
    data, _ = device_data(arrays, 20)
    return made, data, jax.jit(jax.vmap(lambda s: made.init(jax.random.key(s))))


def run(parts, over="vmap", seeds=(0, 1), n=N, times=1, scalar_bin=1):
    made, data, init = parts
    block = blocks.make_block(made.step, made.probe, K, scalar_bin)
    chunk = blocks.make_chunk(block, n, blocks.OVER_SEEDS[over])
    states = init(jnp.asarray(seeds, jnp.uint32))
    records = []
    for _ in range(times):
        states, record = chunk(states, data)
        records.append(blocks.trimmed(record, n, n))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *records)
    return states, joined


def assert_trees(a, b, exact=True, **tolerance):
    def same(x, y):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        if exact:
            np.testing.assert_array_equal(x, y)
        else:
            np.testing.assert_allclose(x, y, **tolerance)

    jax.tree.map(same, a, b)


def test_shapes_and_cadence(parts):
    states, record = run(parts)
    assert (states.step == K * N).all()
    assert record.scalars["loss"].shape == (2, K * N)
    assert record.probe["loss"].shape == (2, N)
    layers = len(parts[0].model.layer_names)
    assert record.probe["participation_ratio"].shape == (2, N, layers)


def test_probes_are_taken_before_the_first_update(parts):
    made, data, init = parts
    _, record = run(parts)
    states = init(jnp.arange(2, dtype=jnp.uint32))
    at_start = jax.jit(jax.vmap(made.probe, (0, None)))(states, data)
    np.testing.assert_allclose(record.probe["loss"][:, 0], at_start["loss"], rtol=1e-6)
    rank = record.probe["participation_ratio"][:, 0]
    np.testing.assert_allclose(rank, at_start["participation_ratio"], rtol=1e-5)


def test_chunks_compose_bit_for_bit(parts):
    assert_trees(run(parts, n=4, times=1), run(parts, n=2, times=2))


def test_shorter_chunks_and_the_final_measurement_need_no_program_of_their_own(parts):
    made, data, init = parts
    compiled = []

    def over_seeds(fn, donate):
        compiled.append(blocks.vmap_seeds(fn, donate))
        return compiled[0]

    chunk = blocks.make_chunk(blocks.make_block(made.step, made.probe, K), 4, over_seeds)
    seeds = jnp.arange(2, dtype=jnp.uint32)
    at_once, record = chunk(init(seeds), data, 4, 1)
    whole = blocks.trimmed(record, 4, 4, 1)
    half, first = chunk(init(seeds), data, 2, 0)
    end, second = chunk(half, data, 2, 1)
    parts = [blocks.trimmed(first, 4, 2), blocks.trimmed(second, 4, 2, 1)]
    assert_trees(at_once, end)
    assert_trees(whole, jax.tree.map(lambda *rows: np.concatenate(rows, 1), *parts))
    assert whole.probe["loss"].shape == (2, 5) and whole.scalars["loss"].shape == (2, 4 * K)
    measured = jax.jit(jax.vmap(made.probe, (0, None)))(end, data)
    np.testing.assert_allclose(whole.probe["loss"][:, -1], measured["loss"], rtol=1e-6)
    assert compiled[0]._cache_size() == 1


@pytest.mark.slow_except("0")
def test_a_chunk_equals_single_steps(parts):
    made, data, init = parts
    states, record = run(parts, "loop", seeds=(3,))
    state = jax.tree.map(lambda a: a[0], init(jnp.array([3], jnp.uint32)))
    step, losses = jax.jit(made.step), []
    for _ in range(K * N):
        state, scalars = step(state, data)
        losses.append(float(scalars["loss"]))
    np.testing.assert_allclose(record.scalars["loss"][0], losses, rtol=1e-5)
    np.testing.assert_allclose(losses[0], record.scalars["loss"][0, 0], rtol=1e-6)


@pytest.mark.long_except("mlp", "cnn:channels=2-3-map")
@pytest.mark.slow
@pytest.mark.parametrize("over", ["map", "loop", "shard"])
def test_seeds_run_any_way_agree(parts, over):
    one, other = run(parts, "vmap"), run(parts, over)
    assert_trees(one[1].scalars, other[1].scalars, exact=False, rtol=2e-4, atol=1e-5)
    assert_trees(one[0].params, other[0].params, exact=False, rtol=2e-3, atol=1e-4)


@pytest.mark.slow
def test_seeds_differ_and_do_not_depend_on_each_other(parts):
    _, both = run(parts, "loop", seeds=(0, 1))
    _, alone = run(parts, "loop", seeds=(1,))
    assert (both.scalars["loss"][0] != both.scalars["loss"][1]).any()
    np.testing.assert_array_equal(both.scalars["loss"][1], alone.scalars["loss"][0])


@pytest.mark.slow
def test_binned_scalars_are_means_of_bins(parts):
    _, fine = run(parts)
    _, coarse = run(parts, scalar_bin=5)
    expected = fine.scalars["loss"].reshape(2, N, 5).mean(-1)
    np.testing.assert_allclose(coarse.scalars["loss"], expected, rtol=1e-6)


def test_the_automatic_choice_on_cpu():
    small = {"family": "mlp", "num_params": 1000}
    assert blocks.choose_over_seeds("auto", 3, small, 64) == "vmap"
    assert blocks.choose_over_seeds("auto", 3, small | {"family": "cnn"}, 64) == "loop"
    assert blocks.choose_over_seeds("map", 3, small, 64) == "map"
    online = [blocks.choose_over_seeds("auto", 3, small | {"num_params": n}, 1) for n in (200, 1e5)]
    assert online == ["vmap", "loop"]


def test_both_ways_to_the_norm_agree():
    leaves = [
        np.random.default_rng(i).normal(size=s) for i, s in enumerate([(7, 5), (4,), (2, 3, 3, 2)])
    ]
    tree = [jnp.asarray(a, jnp.float32) for a in leaves]
    expected = np.sqrt(sum(np.square(a).sum() for a in leaves))
    for norm in (step.global_norm, step.online_norm):
        assert float(jax.jit(norm)(tree)) == pytest.approx(expected, rel=1e-6)


def branches(text):
    """Names of the computations that run only if a predicate holds, and of what they call."""
    bodies = {}
    for part in re.split(r"\n\n", text):
        head = re.match(r"\s*(?:ENTRY )?%?([\w.\-]+) ", part)
        if head:
            bodies[head[1]] = part
    called = {
        name: set(re.findall(r"%([\w.\-]+)", body)) & set(bodies) - {name}
        for name, body in bodies.items()
    }
    found, left = set(), set()
    for body in bodies.values():
        for line in body.splitlines():
            if " conditional(" in line:
                left |= set(re.findall(r"%([\w.\-]+)", line)) & set(bodies)
    while left:
        name = left.pop()
        found.add(name)
        left |= called[name] - found
    return found, bodies


def chunk_text(over_seeds, measured):
    """The compiled program of a chunk; the measure is recognised by its Fourier transform."""

    def step(state, data):
        return state + data, {"x": state.sum()}

    block = blocks.make_block(step, lambda state, data: {"m": state.max()}, 2)
    chunk = blocks.make_chunk(block, 6, blocks.OVER_SEEDS[over_seeds], {"f": (measured, 3)})
    states, data = jnp.ones((2, 8)), jnp.ones(8)
    lowered = jax.jit(lambda s, d: chunk(s, d, 6, 0, 0)).lower(states, data)
    return lowered.compile().as_text()


@pytest.mark.parametrize("over_seeds", ["vmap", "map"])
def test_a_measure_is_computed_only_when_it_is_due(over_seeds):
    """XLA moves what does not change in a loop out of it, and vmap computes both sides of a select.

    In either case, the measure would be computed at every block.
    """

    def measured(state, data):
        return {"f": jnp.abs(jnp.fft.fft(state)).sum()}

    inside, bodies = branches(chunk_text(over_seeds, measured))
    having = {name for name, body in bodies.items() if " fft(" in body}
    assert having and having <= inside, having
