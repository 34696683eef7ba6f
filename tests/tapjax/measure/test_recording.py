import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from analysis import open_run
from configs.motifs import mlp_fashion
from tapjax.data.datasets import load_arrays
from tapjax.data.sampling import make_order
from tapjax.measure.probes import weight_names
from tapjax.measure.recording import remembering, sampled, sketch, unit_means
from tapjax.run import loop, replay
from tapjax.step.optimizers import driven
from tapjax.step.step import BATCH


def config(**optimizer):
    cfg = mlp_fashion.get_config("quick")
    cfg.seeds, cfg.steps, cfg.chunk_steps, cfg.eval_every = (0, 1), 40, 20, 0
    cfg.probe.every, cfg.probe.size, cfg.checkpoint.every = 10, 64, 20
    cfg.record.update(sketch=32, weights=8, examples=40)
    cfg.optimizer.update({"drive": 0.0} | optimizer)
    return cfg


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run, and the states before each of its steps from the 21st to the 26th."""
    path = tmp_path_factory.mktemp("recorded") / "run"
    assert loop.run(config(), path).status == "DONE"
    with replay.open_timeline(path) as timeline:
        params = [
            jax.tree.map(np.array, states.params)
            for _, states in replay.states_at(timeline, range(20, 26))
        ]
    return open_run(path), params


def matrices(params):
    return [w for w in jax.tree.leaves(params) if w.ndim > 2]


def test_a_sketch_keeps_distances():
    """Of random matrices, and of one whose energy is in one row or in one column."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(300, 70, 64)).astype(np.float32)
    row, column = np.zeros((2, 1, 70, 64), np.float32)
    row[:, 3], column[:, :, 5] = rng.normal(size=64), rng.normal(size=70)
    made = jax.vmap(lambda m: sketch(m, 256))
    ratio = (made(spread) ** 2).sum(1) / (spread**2).sum((1, 2))
    assert abs(ratio.mean() - 1) < 0.02
    assert 0.06 < ratio.std() < 0.11  # sqrt(2 / 256) = .088
    for matrix in (row, column):
        np.testing.assert_allclose((made(matrix) ** 2).sum(), (matrix**2).sum(), rtol=0.3)


def test_a_sketch_is_linear_and_fits_any_size():
    a, b = np.random.default_rng(1).normal(size=(2, 3, 3, 5, 7)).astype(np.float32)
    for size in (4, 7, 256, 1000):
        np.testing.assert_allclose(
            sketch(2 * a - b, size), 2 * sketch(a, size) - sketch(b, size), atol=1e-5
        )
        assert sketch(a, size).shape == (size,)
    # More buckets than entries: every entry has a bucket of its own.
    np.testing.assert_allclose((sketch(a, 1000) ** 2).sum(), (a**2).sum(), rtol=1e-5)


def test_fixed_weights_and_unit_means():
    matrix = jnp.arange(12.0).reshape(3, 4)
    assert sorted(np.asarray(sampled(matrix, 12))) == list(range(12))
    np.testing.assert_array_equal(sampled(matrix, 5), sampled(matrix, 5))
    assert sampled(matrix, 20).shape == (20,)
    hidden = (jnp.ones((2, 3, 3, 4)), jnp.arange(6.0).reshape(2, 3))
    np.testing.assert_allclose(unit_means(hidden), [1, 1, 1, 1, 1.5, 2.5, 3.5], rtol=1e-6)


def test_the_last_update_is_remembered():
    tx = optax.chain(optax.sgd(0.5), remembering())
    params = jnp.ones(2)
    state = tx.init(params)
    for gradient in (jnp.array([2.0, 0]), jnp.array([0, 4.0])):
        assert (optax.tree_utils.tree_get(state, "last_update") == params - 1).all()
        updates, state = tx.update(gradient, state, params)
        params = 1 + updates


@pytest.mark.slow
def test_norms_and_directions_are_those_of_the_replayed_states(recorded):
    run, params = recorded
    weights = [np.stack(kind) for kind in zip(*map(matrices, params), strict=True)]  # [T, S, ...]
    flat = [w.reshape(*w.shape[:2], -1).swapaxes(0, 1) for w in weights]  # [S, T, D]
    updates = [np.diff(w, axis=1) for w in flat]

    def of(name):
        return run.array("scalar", name)[:, 20:25]

    norms = np.stack([np.linalg.norm(w, axis=-1) for w in flat], -1)
    np.testing.assert_allclose(of("weight_norm"), norms[:, :5], rtol=1e-5)
    lengths = np.stack([np.linalg.norm(u, axis=-1) for u in updates], -1)
    np.testing.assert_allclose(of("update_norm"), lengths, rtol=1e-3)
    cosine = np.stack([(u[:, 1:] * u[:, :-1]).sum(-1) for u in updates], -1)
    cosine /= lengths[:, 1:] * lengths[:, :-1]
    np.testing.assert_allclose(of("update_cosine")[:, 1:], cosine, atol=2e-3)
    density = [(abs(w) > 0.1 * np.sqrt((w**2).mean(-1, keepdims=True))).mean(-1) for w in flat]
    np.testing.assert_allclose(of("weight_density"), np.stack(density, -1)[:, :5], atol=2e-3)
    squares = np.square(of("weight_grad_norm")).sum(-1)
    assert (squares <= np.square(run.array("scalar", "grad_norm")[:, 20:25]) * 1.0001).all()
    names = weight_names(jax.tree.map(lambda w: w[0], params[0]))
    assert len(names) == of("moment1_norm").shape[-1] == of("sketch").shape[2]


@pytest.mark.slow
def test_batches_are_told_apart(recorded):
    run, _ = recorded
    hashes = run.array("scalar", "batch_hash")
    assert len(np.unique(hashes)) == hashes.size
    order = make_order(32, "epoch")
    key = jax.random.fold_in(jax.random.key(0), BATCH)
    again = [set(np.asarray(order(key, step, 1000)).tolist()) for step in (0, 1)]
    assert not again[0] & again[1]


@pytest.mark.slow
def test_what_fixed_examples_see(recorded):
    """At a measurement's step the recorded mean loss is that of the probe's first examples."""
    run, params = recorded
    classes = run.array("scalar", "probe_class_loss")
    assert classes.shape[-1] == 10
    arrays = load_arrays("digits", 1000, 300)
    y = arrays.y_test[np.asarray(run.data["probe_index"])[:40]]
    shares = np.bincount(y, minlength=10) / len(y)
    mean = np.nansum(classes * shares, -1)
    np.testing.assert_allclose(mean, run.array("scalar", "probe_loss"), rtol=1e-4)
    assert run.array("scalar", "unit_mean").shape[-1] == 16 + 16 + 10


@pytest.mark.slow
def test_a_chaotic_rate_is_each_seeds_own_and_recorded(tmp_path):
    plain, driven_run = tmp_path / "plain", tmp_path / "driven"
    loop.run(config(), plain)
    loop.run(config(drive=0.5), driven_run)
    lr = open_run(driven_run).array("scalar", "lr") / 3e-4
    assert 0.5 <= lr.min() < 0.7 and 1.3 < lr.max() <= 1.5
    assert abs(np.corrcoef(lr)[0, 1]) < 0.6
    step = [open_run(path).array("scalar", "update_norm")[:, 0] for path in (plain, driven_run)]
    np.testing.assert_allclose(step[1], step[0] * lr[:, :1], rtol=1e-5)


def test_the_drive_is_a_henon_map():
    tx = driven(0.5)
    state, found = tx.init(None), []
    for _ in range(50):
        updates, state = tx.update(jnp.ones(3), state, key=jax.random.key(3))
        found.append(float(updates[0]))
    x = (np.array(found) - 1) / 0.5 * 1.285
    np.testing.assert_allclose(x[2:], 1 - 1.4 * x[1:-1] ** 2 + 0.3 * x[:-2], atol=1e-5)
