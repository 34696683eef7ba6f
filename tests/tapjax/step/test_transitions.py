import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.models.zoo import make_model
from tapjax.step.transitions import make_transitions
from tapjax.types import TrainState


def changed(arch, layer, unit, seeds=2):
    """Which parameters a reset changed, by path, and the states before and after."""
    cfg, model = schema.defaults(), make_model(arch, (8, 8, 1), 10, "torch")
    cfg.model.name = arch
    cfg.reset.step, cfg.reset.layer, cfg.reset.unit = 5, layer, unit

    def init(seed):
        key = jax.random.key(seed)
        params, stats = model.init(key)
        return TrainState(jnp.int32(5), params, stats, {}, {}, key)

    states = jax.vmap(init)(jnp.arange(seeds))
    ((step, reset),) = make_transitions(cfg, model)
    assert step == 5
    after = reset(states)
    moved = jax.tree.map(lambda a, b: np.asarray(a != b), states.params, after.params)
    leaves = jax.tree_util.tree_leaves_with_path(moved)
    name = {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}
    return {path: leaf for path, leaf in name.items() if leaf.any()}, after


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["transformer", "decoder"])
def test_a_head_is_its_inputs_and_its_outputs(arch):
    moved, _ = changed(f"{arch}:depth=2,width=16,heads=4", "block_1_attention", 2)
    block = "block_1/attention/"
    kernels = {f"{block}{name}/kernel" for name in ("query", "key", "value", "out")}
    biases = {f"{block}{name}/bias" for name in ("query", "key", "value")}
    assert set(moved) == kernels | biases
    columns = np.arange(16) // 4 == 2
    for name in ("query", "key", "value"):
        assert (moved[f"{block}{name}/kernel"].all(1) == columns[None]).all()
        assert (moved[f"{block}{name}/kernel"].any(1) == columns[None]).all()
    assert (moved[f"{block}out/kernel"].all(2) == columns[None]).all()


@pytest.mark.slow
def test_a_channel_a_unit_and_a_whole_layer():
    moved, after = changed("cnn:channels=4-8", "conv_1", 3)
    assert set(moved) == {"conv_1/kernel", "conv_1/bias"}
    assert moved["conv_1/kernel"][..., 3].all() and moved["conv_1/kernel"].sum() == 2 * 9 * 4
    kernel = np.asarray(after.params["conv_1"]["kernel"])
    assert (kernel[0, ..., 3] != kernel[1, ..., 3]).all()  # each seed draws its own
    moved, _ = changed("mlp:depth=2,width=8", "hidden_0", 0)
    assert moved["hidden_0/kernel"].sum() == 2 * 64
    moved, _ = changed("mlp:depth=2,width=8", "hidden_1", -1)
    assert set(moved) == {"hidden_1/kernel", "hidden_1/bias"}
    assert all(leaf.all() for leaf in moved.values())


@pytest.mark.slow
def test_a_block_of_a_decoder_is_all_that_is_in_it():
    moved, _ = changed("decoder:depth=2,width=16,heads=4,mlp=2", "block_1", -1)
    assert {path.partition("/")[0] for path in moved} == {"block_1"}
    assert {"block_1/attention/out/kernel", "block_1/linear_0/kernel"} <= {*moved}
    with pytest.raises(ConfigError, match="consists of several layers: set reset.unit=-1"):
        changed("decoder:depth=2,width=16,heads=4", "block_1", 0)


@pytest.mark.parametrize(
    ("layer", "unit", "message"),
    [
        ("hiden_1", 0, "did you mean 'hidden_1'"),
        ("hidden_1", 8, "reset.unit=8 must be below 8"),
    ],
)
def test_mistakes_are_explained(layer, unit, message):
    with pytest.raises(ConfigError, match=message):
        changed("mlp:depth=2,width=8", layer, unit)
