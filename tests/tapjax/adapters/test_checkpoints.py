"""Weights in files of other programs become those of Flax, or the file is refused in one line."""

import json

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tapjax.adapters.checkpoints import as_in_flax, weights
from tapjax.contract.files import RunError

RNG = np.random.default_rng(0)
PARAMS = {"fc1": {"kernel": RNG.standard_normal((3, 4)), "bias": RNG.standard_normal(4)}}
PARAMS = {layer: {n: a.astype(np.float32) for n, a in own.items()} for layer, own in PARAMS.items()}
FLAT = {f"{layer}/{name}": a for layer, own in PARAMS.items() for name, a in own.items()}


def saved_by_orbax(folder, tree):
    with ocp.StandardCheckpointer() as writer:
        writer.save(folder, tree)
    return folder


def saved_by_manager(folder, tree):
    with ocp.CheckpointManager(folder) as manager:
        manager.save(7, args=ocp.args.StandardSave(tree))
    return folder / "7"


def saved_with_more(folder, tree):
    """A step with two items is read by naming one."""
    with ocp.CheckpointManager(folder) as manager:
        items = {"state": ocp.args.StandardSave(tree), "notes": ocp.args.JsonSave({"a": 1})}
        manager.save(0, args=ocp.args.Composite(**items))
    return folder / "0" / "state"


def saved_by_numpy(folder, tree):
    np.savez(
        folder.with_suffix(".npz"), **{f"params/{name}": a for name, a in FLAT.items()}, step=3
    )
    return folder.with_suffix(".npz")


WRITERS = [saved_by_orbax, saved_by_manager, saved_with_more, saved_by_numpy]


def assert_flat(found, wanted=None):
    assert found.keys() == (wanted or FLAT).keys()
    for name, value in (wanted or FLAT).items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("save", WRITERS)
def test_the_state_of_the_optimizer_is_left_out(save, tmp_path):
    tree = {"params": PARAMS, "opt": [{"mu": jnp.ones(3)}, jnp.zeros((), jnp.int32)], "step": 3}
    assert_flat(weights(save(tmp_path / "saved", tree)))


def test_a_part_is_chosen_by_name(tmp_path):
    tree = {"ema": {"params": PARAMS}, "params": {"a": jnp.ones(2)}, "opt": [jnp.ones(3)]}
    path = saved_by_orbax(tmp_path / "saved", tree)
    assert_flat(weights(path, "ema/params"))
    assert_flat(weights(path), {"a": np.ones(2)})
    assert_flat(weights(path, "opt"), {"0": np.ones(3)})
    with pytest.raises(RunError, match=r"no weights in part='param'; there are ema, opt, params"):
        weights(path, "param")


def test_numbers_of_sixteen_bits(tmp_path):
    path = saved_by_orbax(tmp_path / "saved", {"w": jnp.asarray([1.5, -2], jnp.bfloat16)})
    assert_flat(weights(path), {"w": [1.5, -2]})


def torch_network():
    torch = pytest.importorskip("torch")
    return torch.nn.ModuleDict(
        {
            "conv": torch.nn.Conv2d(2, 4, 3, bias=False),
            "up": torch.nn.ConvTranspose2d(2, 5, 3, bias=False),
            "embed_tokens": torch.nn.Embedding(7, 3),
            "table": torch.nn.Embedding(7, 3),
            "fc": torch.nn.Linear(4, 5),
        }
    )


def test_weights_of_torch_have_the_axes_of_flax():
    net = torch_network()
    from tapjax.adapters.torch import weights as of_torch

    found = of_torch(net)
    assert {name: a.shape for name, a in found.items()} == {
        "conv/kernel": (3, 3, 2, 4), "up/kernel": (3, 3, 2, 5), "embed_tokens/embedding": (7, 3),
        "table/embedding": (7, 3), "fc/kernel": (4, 5), "fc/bias": (5,),
    }  # fmt: skip
    np.testing.assert_array_equal(found["fc/kernel"], net["fc"].weight.detach().numpy().T)
    alone = of_torch(net.state_dict())  # has no types of layers
    assert alone["embed_tokens/embedding"].shape == (7, 3) and alone["table/kernel"].shape == (3, 7)


def test_files_of_safetensors(tmp_path):
    st = pytest.importorskip("safetensors.torch")
    net = torch_network()
    state = {name: a for name, a in net.state_dict().items() if not name.startswith("up.")}
    from tapjax.adapters.torch import weights as of_torch

    file = tmp_path / "model.safetensors"
    st.save_file(state, file, metadata={"format": "pt"})
    assert_flat(weights(file), of_torch(state))
    assert_flat(weights(tmp_path), of_torch(state))  # the folder, as with several shards
    half = {"fc.weight": state["fc.weight"].bfloat16()}
    st.save_file(half, file, metadata={"format": "pt"})
    assert_flat(weights(file), of_torch(half))


def test_files_of_safetensors_without_the_mark_of_torch(tmp_path):
    st = pytest.importorskip("safetensors.numpy")
    file = tmp_path / "weights.safetensors"
    st.save_file({name.replace("/", "."): a for name, a in FLAT.items()}, file)
    assert_flat(weights(file))


@pytest.mark.parametrize(
    ("name", "kind", "shape", "wanted"),
    [
        ("a.fc.weight", None, (5, 4), ("a/fc/kernel", (4, 5))),
        ("fc.weight", "kernel", (5, 4), ("fc/kernel", (5, 4))),
        ("up.weight", "transposed", (2, 5, 3, 3), ("up/kernel", (3, 3, 2, 5))),
        ("wte.weight", None, (9, 4), ("wte/embedding", (9, 4))),
        ("embed.proj.weight", None, (5, 4), ("embed/proj/kernel", (4, 5))),
        ("embed.weight", "matrix", (5, 4), ("embed/kernel", (4, 5))),
        ("norm.weight", None, (5,), ("norm/weight", (5,))),
        ("scale", None, (2, 3), ("scale", (2, 3))),
    ],
)
def test_parameters_of_torch_by_name(name, kind, shape, wanted):
    new, value = as_in_flax(name, np.zeros(shape), kind)
    assert (new, value.shape) == wanted


@pytest.mark.parametrize("library", ["safetensors", "npz", "orbax"])
def test_damaged_files_are_refused(library, tmp_path):
    path = tmp_path / f"a.{library}"
    if library == "orbax":
        saved_by_orbax(path, PARAMS)
        (path / "_METADATA").write_text(json.dumps({"tree_metadata": 3}))
    else:
        path.write_bytes(b"no such file format")
    with pytest.raises(RunError, match=str(path)) as caught:
        weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pt", r"is a pickle, .* pass torch.load\(path, weights_only=True\)"),
        ("a.txt", "give a file .safetensors or .npz"),
        ("none.npz", "there is no such checkpoint"),
        ("", "is not an Orbax checkpoint; give a folder in it: a step"),
    ],
)
def test_what_is_no_checkpoint_is_refused(name, message, tmp_path):
    for file in ("a.pt", "a.txt"):
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(RunError, match=message):
        weights(tmp_path / name)
