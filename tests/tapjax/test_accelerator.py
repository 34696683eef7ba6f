"""What holds on an accelerator; skipped without one.

JAX_PLATFORMS=cuda python -m pytest -m accelerator -n 0
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.benchmarks.accelerator import accelerator
from launch.benchmarks.tables import markdown
from tapjax.measure import probes
from tapjax.models.zoo import make_model
from tapjax.run import loop, memory
from tapjax.run.assembly import assemble

pytestmark = [
    pytest.mark.accelerator,
    pytest.mark.skipif(jax.default_backend() == "cpu", reason="there is no device but the CPU"),
]
FLOAT32 = 2e-4  # relative error of dimensionalities from float32 SVDs


def records(path):
    return [dict(np.load(file)) for file in sorted((path / "records").iterdir())]


@pytest.mark.parametrize("rank", [8, 64, 256])
@pytest.mark.parametrize("with_map", [False, True])
def test_dimensionalities_of_float32_are_near_those_of_float64(rank, with_map):
    rng = np.random.default_rng(rank)
    x, k = rng.standard_normal((512, rank)), rng.standard_normal((rank, 512)) / rank
    z = (x @ k).astype(np.float32)
    maps = [jnp.asarray(k, jnp.float32)] if with_map else None
    found = jax.jit(lambda z: probes.dimensions([z], False, maps))(z)
    s = np.linalg.svd(z.astype(float), compute_uv=False)
    assert found["participation_ratio"][0] == pytest.approx(
        s.sum() ** 2 / (s**2).sum(), rel=FLOAT32
    )
    assert found["stable_rank"][0] == pytest.approx((s**2).sum() / s[0] ** 2, rel=FLOAT32)


def test_seeds_together_train_like_seeds_alone(tiny, tmp_path):
    tiny.seeds = (0, 1, 2, 3)
    for how in ("vmap", "loop", "shard"):
        tiny.over_seeds = how
        assert loop.run(tiny, tmp_path / how).status == "DONE"
    expected = records(tmp_path / "loop")
    for how in ("vmap", "shard"):
        for ours, theirs in zip(records(tmp_path / how), expected, strict=True):
            np.testing.assert_allclose(ours["scalar/loss"], theirs["scalar/loss"], rtol=1e-3)


@pytest.mark.parametrize("name", ["mlp:depth=2,width=8", "cnn:channels=4-8"])
def test_a_run_that_is_extended_has_the_bits_of_a_longer_one(name, tiny, tmp_path):
    tiny.model.name = name
    loop.run(tiny, tmp_path / "whole")
    tiny.steps = 20
    loop.run(tiny, tmp_path / "parts")
    tiny.steps = 40
    loop.run(tiny, tmp_path / "parts", extend=True)
    for ours, theirs in zip(records(tmp_path / "parts"), records(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(ours["scalar/loss"], theirs["scalar/loss"])


def test_the_estimate_of_memory_is_near_what_the_device_reports(tiny):
    tiny.model.name, tiny.data.batch_size = "mlp:depth=4,width=2048", 256
    ready = assemble(tiny)
    record = jax.eval_shape(ready.programs.block, ready.like, ready.data)[1]
    needed = sum(memory.estimate(ready, record))
    device = jax.devices()[0]
    before = device.memory_stats()["bytes_in_use"]
    states, _ = ready.programs.train(ready.programs.init(), ready.data, 1)
    jax.block_until_ready(states)
    used = device.memory_stats()["peak_bytes_in_use"] - before
    assert needed / 3 < used < 3 * needed


def test_a_transformer_and_a_resnet_train(getkey):
    for name, shape in (("transformer_shallow", (28, 28, 1)), ("resnet18", (32, 32, 3))):
        model = make_model(name, shape, 10)
        params, stats = model.init(getkey())
        x = jax.random.normal(getkey(), (64, *shape))
        gradient = jax.grad(lambda p, m=model, s=stats, x=x: m.apply(p, s, x)[0].var())(params)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_suite_of_benchmarks_makes_a_table():
    rows = accelerator(1, {"mlp_medium_5": 100}, seeds=(1, 2), product=512)
    table = markdown({"command": "", "machine": {}, "peaks": [], "suites": {"accelerator": rows}})
    assert len(rows) == 12 and "mlp_medium_5: measured every 20" in table
