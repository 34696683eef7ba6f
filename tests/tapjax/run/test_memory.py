"""The memory estimate: against what XLA itself allots, and as a refusal."""

import re

import jax
import jax.numpy as jnp
import pytest

from tapjax.config.schema import ConfigError
from tapjax.run import loop, memory
from tapjax.run.assembly import assemble

pytestmark = pytest.mark.usefixtures("full_compile")


def test_peak_bytes_of_known_functions():
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    assert memory.peak_bytes(lambda x: x, x) == 0
    assert memory.peak_bytes(lambda x: jnp.sin(x), x) == 4000
    assert memory.peak_bytes(lambda x: jnp.cos(jnp.sin(x)), x) == 8000  # one goes, one comes
    chain = lambda x: jax.lax.scan(lambda c, _: (jnp.sin(jnp.cos(c)), None), x, None, 50)[0]  # noqa: E731
    assert 8000 <= memory.peak_bytes(chain, x) <= 12_100  # whatever the length
    outer = lambda x: jnp.sum(x[:, None] * x[None])  # noqa: E731
    assert 4_000_000 <= memory.peak_bytes(outer, x) <= 4_020_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "over"),
    [
        ("mlp:depth=2,width=256", "vmap"),
        ("cnn:channels=16-16", "map"),
        ("vit:depth=1,width=32,heads=2", "vmap"),
    ],
)
def test_the_estimate_is_within_a_factor_of_two_of_what_xla_allots(tiny, name, over):
    tiny.model.name, tiny.over_seeds, tiny.data.batch_size = name, over, 256
    ready = assemble(tiny)
    record = jax.eval_shape(ready.programs.block, ready.like, ready.data)[1]
    needed = memory.estimate(ready, record)
    chunk = jax.jit(lambda states, data: ready.programs.chunk(states, data, 2))
    real = chunk.lower(ready.like, ready.data).compile().memory_analysis()
    allotted = real.argument_size_in_bytes + real.output_size_in_bytes + real.temp_size_in_bytes
    assert allotted / 2 < sum(needed) < 2 * allotted


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"data.batch_size": 512}, r"MB: data.batch_size"),
        ({"steps": 10**8, "chunk_steps": 10**8}, r"chunk_steps .now 100000000. makes"),
        ({"model.name": "mlp:depth=2,width=2048"}, "MB: fewer seeds"),
    ],
)
def test_too_large_a_run_is_refused_with_advice(tiny, tmp_path, monkeypatch, changes, advice):
    tiny.update_from_flattened_dict(changes)
    tiny.over_seeds = "vmap"
    monkeypatch.setenv(memory.LIMIT, "0.0001")
    with pytest.raises(ConfigError, match="a device has 0.1 MB: ") as refusal:
        loop.run(tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert re.search(advice, str(refusal.value))


def test_the_limit_is_a_number(monkeypatch):
    monkeypatch.setenv(memory.LIMIT, "much")
    with pytest.raises(ConfigError, match="TAPJAX_MEMORY_GB='much' is not a number"):
        memory.available()
    monkeypatch.delenv(memory.LIMIT)
    assert memory.available() > 10**8
