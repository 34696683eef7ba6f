"""Import of logs that other frameworks recorded, as run directories.

The source is one .npz file with the arrays `step`, `loss` and `grad_norm` [T], `layer_names` [L]
and any number of metrics [T, L].
"""

from pathlib import Path

import numpy as np

from tapjax.contract.architectures import ZOO
from tapjax.contract.files import RunError, read_npz
from tapjax.contract.layout import SCHEMA, record_name, write_json, write_npz

REQUIRED = ("step", "loss", "grad_norm", "layer_names")
TEXTS = ("arch_name", "dataset_name")
DIMENSION = "participation_ratio"
KNOWN = (DIMENSION, "stable_rank", "nuclear_norm_ratio", "effective_rank_90")
DERIVED_FROM = ("nuclear_norm_ratio", DIMENSION)
LAST_STEP = 1e15  # a float64 still represents this integer exactly


def import_arrays(source: Path, out: Path, head: str = "none") -> list[str]:
    """Convert the arrays of another framework to a run directory that every analysis can read.

    Args:
      source: .npz file in the format described above, without pickled objects.
      out: run directory to create.
      head: output layer (head), which is excluded from D: `last`, `none` or the name of a layer.

    Returns:
      Remarks for the user, for example that a metric had to be recomputed.

    Raises:
      RunError: the arrays are malformed, or `out` already holds a run.
    """
    if (out / "config.json").exists():
        raise RunError(f"{out} already holds a run: choose another --out")
    arrays = _read(source)
    layers = [str(name) for name in arrays["layer_names"]]
    metrics, remarks = _metrics(arrays, source, len(layers))
    architecture = _text(arrays, "arch_name", source.stem)
    model = {
        "architecture": architecture,
        "data": _text(arrays, "dataset_name", "unknown"),
        "layer_names": layers,
        "head": _head(head, layers),
        "dimension": DIMENSION if DIMENSION in metrics else min(metrics),
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
    arrays = read_npz(source)
    for name in REQUIRED:
        if name not in arrays:
            raise RunError(f"{source} lacks the array {name!r}; it needs {', '.join(REQUIRED)}")
    _check_steps(source, arrays["step"])
    for name in ("loss", "grad_norm"):
        _check_curve(source, name, arrays[name], len(arrays["step"]))
    if arrays["grad_norm"].min() < 0:
        raise RunError(f"{source}: grad_norm has negative values")
    names = arrays["layer_names"]
    if names.dtype.kind == "S":
        raise RunError(
            f"{source}: layer_names holds byte strings such as {names.ravel()[:1].tolist()}: save "
            "layer_names.astype(str)"
        )
    texts = [str(name) for name in np.ravel(names)]
    if names.ndim != 1 or not texts or not all(texts) or len(set(texts)) < len(texts):
        raise RunError(f"{source}: layer_names must hold one or more different names")
    return arrays


def _check_steps(source, step):
    problem = f"{source}: step must hold at least 2 increasing integers, 0 or above"
    if step.ndim != 1 or len(step) < 2 or step.dtype.kind not in "iuf":
        raise RunError(problem)
    exact = step.astype(float)
    if not np.isfinite(exact).all() or (exact != np.round(exact)).any() or exact.min() < 0:
        raise RunError(problem)
    if (np.diff(exact) <= 0).any() or exact.max() > LAST_STEP:
        raise RunError(problem)


def _check_curve(source, name, values, length):
    if values.shape != (length,):
        raise RunError(f"{source}: {name} has shape {values.shape}, not ({length},)")
    if values.dtype.kind not in "iuf" or not _finite(values):
        raise RunError(f"{source}: {name} has values that are not finite numbers")


def _finite(values):
    """Return whether all values are finite in single precision, in which they will be stored."""
    with np.errstate(over="ignore"):
        return np.isfinite(values.astype(np.float32)).all()


def _metrics(arrays, source, layers):
    shape = (len(arrays["step"]), layers)
    others = [n for n in arrays if n not in (*REQUIRED, *TEXTS) and not n.startswith("arch_")]
    left_out = {name: _unfit(arrays[name], shape) for name in others}
    meant = [name for name in others if arrays[name].ndim > 1 or name in KNOWN]
    remarks = [f"{name} is left out: {left_out[name]}" for name in meant if left_out[name]]
    metrics = {name: arrays[name].astype(np.float64) for name in others if not left_out[name]}
    if not metrics:
        because = f" ({'; '.join(remarks)})" if remarks else ""
        raise RunError(f"{source} has no metric of shape [T, L] = {shape}{because}")
    if DIMENSION not in metrics:
        remarks.append(f"D is the mean of {min(metrics)}: there is no usable {DIMENSION}")
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


def _unfit(values, shape):
    """Return why an array cannot be used as a metric, or an empty string if it can."""
    if values.dtype.kind not in "iuf":
        return f"it holds {values.dtype}, not numbers"
    if values.shape != shape:
        swapped = "; save its transpose" if values.shape == shape[::-1] else ""
        return f"its shape is {values.shape}, not [T, L] = {shape}{swapped}"
    if not _finite(values) or (values < 0).any():
        return "it has values that are negative or not finite"
    return ""


def _head(head, layers):
    if head == "none":
        return None
    name = layers[-1] if head == "last" else head
    if name not in layers:
        raise RunError(f"--head={head} is not one of last, none, {', '.join(layers)}")
    return name


def _text(arrays, name, default):
    if name not in arrays:
        return default
    if arrays[name].dtype.kind == "S":
        raise RunError(f"{name} holds byte strings: save numpy.array({name}).astype(str)")
    if arrays[name].ndim or arrays[name].dtype.kind != "U":
        raise RunError(
            f"{name} must be a text, not {arrays[name].dtype} of shape {arrays[name].shape}"
        )
    return str(arrays[name])


def _structure(arrays, architecture):
    """Return the numbers `arch_NAME` by name, and the family if it is given or can be looked up."""
    structure = {}
    for name in arrays:
        if not name.startswith("arch_") or name in ("arch_name", "arch_family"):
            continue
        if arrays[name].ndim or arrays[name].dtype.kind not in "iuf" or not _finite(arrays[name]):
            raise RunError(
                f"{name} must be a number, not {arrays[name].dtype} of shape {arrays[name].shape}"
            )
        structure[name.removeprefix("arch_")] = float(arrays[name])
    if "arch_family" in arrays or architecture in ZOO:
        known = ZOO[architecture].family if architecture in ZOO else ""
        structure["family"] = _text(arrays, "arch_family", known)
    return structure
