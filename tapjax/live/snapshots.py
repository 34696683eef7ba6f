"""Arrays of a snapshot: the weights of a network, and its activations on the probe."""

from collections.abc import Mapping

import numpy as np

from tapjax.live.arrays import as_array


def snapshot_arrays(
    seeds, weights, activations, labels, channels: str | None
) -> dict[str, np.ndarray]:
    """Name the arrays of a snapshot as `layout.RECORDS` describes them.

    Args:
      seeds: numbers of the seeds; with several, all values have the leading axis [S].
      weights: nested dict of arrays.
      activations: name of a layer -> activations of the probe [P, D], [P, Q, D] or images; None for
        none.
      labels: class of each example of the probe; None if there are no activations.
      channels: position of the channels of images, `first` or `last`; None refuses images.

    Returns:
      Name -> array [S, ...], and `probe_y [P]`.

    Raises:
      ValueError: a shape is wrong, or labels are missing.
    """
    several = len(seeds) > 1
    arrays = {}
    for path, value in _flat(weights):
        value = as_array(value)
        arrays[f"weights/{path}"] = value if several else value[None]
    if activations and labels is None:
        raise ValueError("labels: the classes of the examples are needed with activations")
    y_P = np.zeros(0, int) if labels is None else as_array(labels).astype(int)
    for name, given in (activations or {}).items():
        mean_SxPxD, positive_SxD = _examples(name, given, several, channels)
        arrays |= {f"activations/{name}": mean_SxPxD, f"positive/{name}": positive_SxD}
        arrays[f"class_mean/{name}"] = _class_means(mean_SxPxD, y_P)
    for name, value in arrays.items():
        if value.shape[:1] != (len(seeds),):
            raise ValueError(
                f"{name} has the shape {value.shape}: its first axis must be the {len(seeds)} seeds"
            )
    return arrays | {"probe_y": y_P}


def _flat(tree, path=""):
    """Yield (path, array) for each array of nested dicts and lists."""
    if isinstance(tree, Mapping):
        parts = tree.items()
    elif isinstance(tree, (list, tuple)):
        parts = enumerate(tree)
    else:
        yield path, tree
        return
    for name, part in parts:
        yield from _flat(part, f"{path}/{name}" if path else str(name))


def _examples(name, given, several, channels):
    """Return a layer's means over space or tokens [S, P, D], and shares above zero [S, D]."""
    value = as_array(given)
    value = value if several else value[None]
    if value.ndim < 3:
        raise ValueError(f"activations[{name!r}] has the shape {value.shape[1:]}, not [P, D]")
    if value.ndim == 5 and channels is None:
        raise ValueError(
            f"activations[{name!r}] may be images: pass channels='first' or 'last' to the Recorder"
        )
    if value.ndim == 5 and channels == "first":
        value = np.moveaxis(value, 2, -1)
    inner = tuple(range(2, value.ndim - 1))
    return value.mean(inner, dtype=float), (value > 0).mean((1, *inner))


def _class_means(a_SxPxD, y_P):
    """Return the mean activation of each class, [S, C, D]."""
    member_CxP = np.arange(int(y_P.max()) + 1)[:, None] == y_P
    counts_C = np.maximum(member_CxP.sum(1, keepdims=True), 1)
    return np.einsum("cp,spd->scd", member_CxP / counts_C, a_SxPxD)
