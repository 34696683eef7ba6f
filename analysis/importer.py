"""Logs of other frameworks as run directories: one .npz with `step`, `loss`, `grad_norm` [T],
`layer_names` [L] and any metric [T, L].
"""

import zipfile
from pathlib import Path

import numpy as np

from analysis.architectures import ZOO
from analysis.io import RunError
from analysis.layout import SCHEMA, record_name, write_json, write_npz

REQUIRED = ("step", "loss", "grad_norm", "layer_names")
DERIVED_FROM = ("nuclear_norm_ratio", "participation_ratio")


def import_arrays(source: Path, out: Path, head: str = "none") -> list[str]:
    """Turn foreign arrays into a run directory that every analysis reads.

    Args:
      source: .npz file in the format above, without pickles.
      out: run directory to make.
      head: which layer is the head and stays out of D: `last`, `none` or a layer's name.

    Returns:
      Remarks for the user, such as a metric that had to be recomputed.

    Raises:
      RunError: malformed arrays, or `out` exists.
    """
    if (out / "config.json").exists():
        raise RunError(f"{out} already holds a run")
    arrays = _read(source)
    layers = [str(name) for name in arrays["layer_names"]]
    metrics, remarks = _metrics(arrays, source, len(layers))
    architecture = _text(arrays, "arch_name", source.stem)
    model = {
        "architecture": architecture,
        "data": _text(arrays, "dataset_name", "unknown"),
        "layer_names": layers,
        "head": _head(head, layers),
        "dimension": "participation_ratio" if "participation_ratio" in metrics else min(metrics),
        "structure": _structure(arrays, architecture),
        "imported_from": source.name,
        "remarks": remarks,
        "synthetic": False,
    }
    step = arrays["step"].astype(np.int64)
    record = {
        "step": step,
        "probe_step": step,
        "scalar/loss": arrays["loss"][None].astype(np.float32),
        "scalar/grad_norm": arrays["grad_norm"][None].astype(np.float32),
        **{f"probe/{name}": value[None].astype(np.float32) for name, value in metrics.items()},
    }
    (out / "records").mkdir(parents=True, exist_ok=True)
    write_npz(out / "records" / record_name(int(step[0])), record)
    write_json(out / "env.json", {"schema": SCHEMA, "imported": True, "seeds": 1})
    write_json(out / "data.json", {})
    write_json(out / "model.json", model)
    write_json(out / "STATUS.json", {"status": "DONE", "step": int(step[-1]), "reason": "imported"})
    write_json(out / "config.json", {"seeds": [0], "steps": int(step[-1]), "imported": True})
    return remarks


def _read(source):
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(f"{source} cannot be read as an .npz without pickles: {error}") from error
    for name in REQUIRED:
        if name not in arrays:
            raise RunError(f"{source} lacks the array {name!r}; it needs {', '.join(REQUIRED)}")
    t = len(arrays["step"])
    for name in ("loss", "grad_norm"):
        if arrays[name].shape != (t,):
            raise RunError(f"{source}: {name} has shape {arrays[name].shape}, not ({t},)")
        if not np.isfinite(arrays[name]).all():
            raise RunError(f"{source}: {name} has values that are not finite")
    if t < 2 or (np.diff(arrays["step"].astype(np.int64)) <= 0).any():
        raise RunError(f"{source}: step must hold at least 2 increasing integers")
    return arrays


def _metrics(arrays, source, layers):
    shape = (len(arrays["step"]), layers)
    metrics = {
        name: array.astype(np.float64)
        for name, array in arrays.items()
        if array.shape == shape and np.issubdtype(array.dtype, np.number)
    }
    if not metrics:
        raise RunError(f"{source} has no metric of shape [T, L] = {shape}")
    remarks = []
    recorded = metrics.get("stable_rank")
    if recorded is not None and np.ptp(recorded) < 1e-6:
        if all(name in metrics for name in DERIVED_FROM):
            nuclear, participation = (metrics[name] for name in DERIVED_FROM)
            metrics["stable_rank"] = nuclear**2 / participation
            remarks.append(
                "stable_rank was recorded as a constant; recomputed as "
                "nuclear_norm_ratio^2 / participation_ratio"
            )
        else:
            del metrics["stable_rank"]
            remarks.append("stable_rank was recorded as a constant and is left out")
    return metrics, remarks


def _head(head, layers):
    if head == "none":
        return None
    name = layers[-1] if head == "last" else head
    if name not in layers:
        raise RunError(f"--head={head} is not one of last, none, {', '.join(layers)}")
    return name


def _text(arrays, name, default):
    return str(arrays[name]) if name in arrays else default


def _structure(arrays, architecture):
    """Numbers `arch_NAME` by name, and the family: `arch_family`, or that of a known name."""
    names = [name for name in arrays if name.startswith("arch_")]
    numbers = [name for name in names if np.issubdtype(arrays[name].dtype, np.number)]
    structure = {name.removeprefix("arch_"): float(arrays[name]) for name in numbers}
    if "arch_family" in arrays or architecture in ZOO:
        known = ZOO[architecture].family if architecture in ZOO else ""
        structure["family"] = _text(arrays, "arch_family", known)
    return structure
