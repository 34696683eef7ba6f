"""Weights in checkpoint files of other programs: safetensors, Orbax, npz."""

from pathlib import Path

import numpy as np

from tapjax.contract.files import RunError, read_npz

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
EMBEDDINGS = ("embed", "wte", "wpe")  # parts of the names of embeddings in files of PyTorch


def weights(path, part: str | None = None) -> dict:
    """Read the weights in a checkpoint, for `Recorder.snapshot`.

    Args:
      path: file `*.safetensors` or `*.npz`, folder with files of safetensors (all are read, as with
        the shards of Hugging Face), or folder of an Orbax checkpoint, such as a step or an item of
        a `CheckpointManager`. The mark that PyTorch leaves in its safetensors decides whether
        matrices are transposed, as in `torch.weights`. The names of layers tell which are
        embeddings. The file does not tell which are transposed convolutions or the Conv1D of GPT-2:
        for these, load the file into the network and use `torch.weights`.
      part: part of a checkpoint that is read, such as `params` or `model/params`; by default
        `params` if there is one, so that the state of an optimizer is left out, else everything.

    Returns:
      Path such as `encoder/0/kernel` -> float array.

    Raises:
      RunError: the file is damaged, missing or of another kind, or has no such part.

    Examples:
      >>> import tempfile
      >>> file = Path(tempfile.mkdtemp()) / "step_100.npz"
      >>> np.savez(file, **{"params/fc1/kernel": np.ones((3, 4))})
      >>> {name: a.shape for name, a in weights(file).items()}
      {'fc1/kernel': (3, 4)}
    """
    path = Path(path).absolute()
    if not path.exists():
        raise RunError(f"{path}: there is no such checkpoint")
    if path.suffix in PICKLES:
        raise RunError(
            f"{path} is a pickle, which can run any program when it is read: pass "
            "torch.load(path, weights_only=True) to tapjax.adapters.torch.weights"
        )
    arrays = _read(path)
    if part is None:
        part = "params" if any(name.startswith("params/") for name in arrays) else ""
    head = f"{part}/" if part else ""
    found = {
        name.removeprefix(head): np.asarray(array, np.float32)
        for name, array in arrays.items()
        if name.startswith(head) and _is_float(array)
    }
    if not found:
        parts = sorted({name.partition("/")[0] for name in arrays})
        raise RunError(f"{path}: no weights in part={part!r}; there are {', '.join(parts)}")
    return found


def as_in_flax(name: str, value: np.ndarray, kind: str | None = None) -> tuple[str, np.ndarray]:
    """Return name and value of a parameter of PyTorch as Flax has them.

    Args:
      name: such as `encoder.0.weight`.
      value: the parameter.
      kind: axes of a weight: `matrix` for [units, inputs] or [channels, inputs, h, w], `transposed`
        for [inputs, channels, h, w], `kernel` for [inputs, units], `embedding` for [words, units];
        None for a matrix, or for an embedding if the layer has the name of one.

    Returns:
      Name such as `encoder/0/kernel`, and the weights as [inputs, units] or [h, w, inputs,
      channels]. Embeddings and other parameters are not changed.
    """
    layer, _, leaf = name.replace(".", "/").rpartition("/")
    if leaf == "weight" and value.ndim > 1:
        own = layer.rpartition("/")[2]
        kind = kind or ("embedding" if any(mark in own for mark in EMBEDDINGS) else "matrix")
        space = tuple(range(2, value.ndim))
        axes = {"matrix": (*space, 1, 0), "transposed": (*space, 0, 1)}.get(kind)
        leaf = "embedding" if kind == "embedding" else "kernel"
        value = value if axes is None else value.transpose(axes)
    return f"{layer}/{leaf}" if layer else leaf, value


def _is_float(array):
    """Whether an array has floating numbers; those of bfloat16 are not floating for NumPy."""
    return hasattr(array, "dtype") and (array.dtype.kind == "f" or "float" in array.dtype.name)


def _read(path):
    """Return path of the array -> array, for all arrays of a checkpoint."""
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if files:
            return {name: a for file in files for name, a in _safetensors(file).items()}
        return _orbax(path)
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix == ".npz":
        return read_npz(path)
    raise RunError(f"{path}: give a file .safetensors or .npz, or the folder of a checkpoint")


def _safetensors(file):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            made_by = (opened.metadata() or {}).get("format")
    except (SafetensorError, AttributeError) as error:  # NumPy lacks some types of numbers
        raise RunError(f"{file} is not a readable file of safetensors: {error}") from None
    if made_by == "pt":
        return dict(as_in_flax(name, value) for name, value in arrays.items())
    return {name.replace(".", "/"): value for name, value in arrays.items()}


def _orbax(folder):
    import jax
    import orbax.checkpoint as ocp

    below = [item for item in folder.iterdir() if (item / "_METADATA").is_file()]
    if not (folder / "_METADATA").is_file():
        if len(below) != 1:
            items = ", ".join(sorted(item.name for item in below)) or "a step, or an item of a step"
            raise RunError(f"{folder} is not an Orbax checkpoint; give a folder in it: {items}")
        (folder,) = below
    reader = ocp.PyTreeCheckpointHandler()
    try:
        tree = reader.metadata(folder).tree
        # Otherwise arrays go to the devices on which they were saved, which may not exist here.
        kinds = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        restored = reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=kinds))
    except Exception as error:  # any kind, if the files are damaged
        why = str(error).partition("\n")[0]
        raise RunError(f"{folder} is not a readable Orbax checkpoint: {why}") from None
    leaves = jax.tree_util.tree_leaves_with_path(restored)
    return {"/".join(map(_key, path)): array for path, array in leaves}


def _key(entry):
    """Return one step of the path to a leaf as text."""
    return str(next(getattr(entry, a) for a in ("key", "name", "idx") if hasattr(entry, a)))
