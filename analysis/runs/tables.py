"""A run as text, HTML, pandas tables, an xarray tree or a figure."""

from html import escape

import numpy as np

from tapjax.contract.files import RunError
from tapjax.contract.layout import OF_LAYERS, STEP_AXES
from tapjax.contract.text import plural

LISTED = 8  # number of names that a description lists per group


def description(run) -> list[tuple[str, str]]:
    """Describe a run: its status, seeds, steps, layers and what was recorded.

    Args:
      run: open run.

    Returns:
      Pairs (what, text).
    """
    step, status = run.steps("scalar"), run.status
    lost = f", {plural(len(run.diverged), 'seed')} diverged" if run.diverged else ""
    reason = f" ({status['reason']})" if status.get("reason") else ""
    rows = [
        ("run", str(run.path)),
        ("network", f"{run.model['architecture']} on {run.model['data']}"),
        ("status", f"{status['status']} at step {status['step']:,}{reason}"),
        ("seeds", f"{_listed(map(str, run.seeds))}{lost}"),
        ("steps", f"{step[0]:,} to {step[-1]:,} of {run.config['steps']:,}"),
        ("layers", _listed(run.layer_names)),
    ]
    for group in (*STEP_AXES, *run.measured):
        names = run.names(group)
        if names:
            rows.append((group, f"[{run.steps(group).size:,} steps] {_listed(names)}"))
    return rows


def _listed(names):
    names = list(names)
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def text(run) -> str:
    """Return the description of a run as lines of text."""
    return "\n".join(f"{what:8} {value}" for what, value in description(run))


def html(run) -> str:
    """Return the description of a run as an HTML table, for notebooks."""
    rows = (f"<tr><th>{what}</th><td>{escape(value)}</td></tr>" for what, value in description(run))
    return f"<table>{''.join(rows)}</table>"


def to_pandas(run, group: str = "probe"):
    """Return all quantities of a group as a table.

    Args:
      run: open run.
      group: `scalar`, `probe`, `eval` or the name of a measure.

    Returns:
      DataFrame with the index (seed, step). Quantities with one value per layer have one column
      `NAME/LAYER` for each; other axes are numbered, as in `class_accuracy/0`.

    Raises:
      RunError: nothing was recorded in this group.
    """
    import pandas as pd  # takes .3 s

    columns = {}
    for name in _names(run, group):
        values = run.array(group, name)
        rows = values.reshape(values.shape[0] * values.shape[1], -1)
        named = labels(name, values.shape, run.layer_names if has_layers(group) else ())
        columns |= dict(zip(named, rows.T, strict=True))
    index = pd.MultiIndex.from_product([run.seeds, run.steps(group)], names=["seed", "step"])
    return pd.DataFrame(columns, index)


def _names(run, group):
    known = (*STEP_AXES, *run.measured)
    if group not in known:
        raise RunError(f"group {group!r} is not one of {', '.join(known)}")
    if not run.names(group):
        raise RunError(f"{run.path} has no {group} arrays")
    return run.names(group)


def has_layers(group: str) -> bool:
    """Decide whether axes of a group that are as long as the number of layers are layers."""
    return group in (*STEP_AXES, *OF_LAYERS)


def labels(name: str, shape, layer_names) -> list[str]:
    """Return the column names of a quantity, one per value at a step.

    Args:
      name: name of the quantity.
      shape: shape of its array, [S, T, ...].
      layer_names: names of the layers.

    Returns:
      The name itself, `NAME/LAYER` for each layer, or `NAME/INDEX` for other axes.
    """
    if len(shape) == 2:
        return [name]
    if shape[2:] == (len(layer_names),):
        return [f"{name}/{layer}" for layer in layer_names]
    return [f"{name}/{'/'.join(map(str, i))}" for i in np.ndindex(*shape[2:])]


def axes_of(record) -> dict[str, str]:
    """Return the groups of a record, and the names of the arrays that hold their steps."""
    groups = dict.fromkeys(name.partition("/")[0] for name in record if "/" in name)
    return {group: STEP_AXES.get(group, f"{group}_step") for group in groups}


def points(record: dict, seeds, layer_names) -> list[tuple[int, dict]]:
    """Return the finite numbers of a record by step.

    Args:
      record: arrays of a record, by name.
      seeds: numbers of the seeds.
      layer_names: names of the layers.

    Returns:
      Pairs (step, seed -> `group/column` -> number) in the order of the steps.
    """
    at: dict[int, dict] = {}
    for group, axis in axes_of(record).items():
        for name in [n for n in record if n.startswith(f"{group}/")]:
            values = record[name]
            columns = values.reshape(*values.shape[:2], -1)
            of_layers = layer_names if has_layers(group) else ()
            for c, label in enumerate(labels(name, values.shape, of_layers)):
                for s, t in np.argwhere(np.isfinite(columns[..., c])):
                    row = at.setdefault(int(record[axis][t]), {})
                    row.setdefault(seeds[s], {})[label] = float(columns[s, t, c])
    return sorted(at.items())


def to_xarray(run):
    """Return a run as an xarray.DataTree, whose arrays are read when they are used.

    Args:
      run: open run.

    Returns:
      DataTree with the groups `scalar`, `probe` and `eval` as far as they were recorded, and one
      per measure. The dimensions are `seed`, `step` and `layer`; other axes are named after their
      quantity. A slash in a name becomes a dot.

    Raises:
      ImportError: xarray is not installed (extra [xarray]).

    Example::

        d = to_xarray(run)["probe"]["participation_ratio"]
        d.sel(layer="fc1").mean("seed").plot()
    """
    import xarray as xr
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Recorded(BackendArray):
        def __init__(self, group, name, shape):
            self.group, self.name = group, name
            self.shape, self.dtype = shape, np.dtype(float)

        def __getitem__(self, key):
            return indexing.explicit_indexing_adapter(
                key, self.shape, indexing.IndexingSupport.OUTER, self._read
            )

        def _read(self, key):
            found, axis = run.array(self.group, self.name), 0
            for each in key:  # an integer removes its axis
                found = found[(slice(None),) * axis + (each,)]
                axis += not isinstance(each, (int, np.integer))
            return found

    groups = {}
    for group in (*STEP_AXES, *run.measured):
        variables = {}
        for name in run.names(group):
            shape = _shape(run, group, name)
            lazy = indexing.LazilyIndexedArray(Recorded(group, name, shape))
            variables[name.replace("/", ".")] = xr.Variable(_dims(run, group, name, shape), lazy)
        if variables:
            axes = {"seed": run.seeds, "step": run.steps(group)}
            used = {dim for variable in variables.values() for dim in variable.dims}
            axes |= {"layer": run.layer_names} if "layer" in used else {}
            groups[group] = xr.Dataset(variables, axes)
    tree = xr.DataTree.from_dict(groups, name=run.name)
    tree.attrs = {"network": run.model["architecture"], "data": run.model["data"]}
    return tree


def _shape(run, group, name):
    if group in STEP_AXES:
        return (len(run.seeds), len(run.steps(group)), *run.further(f"{group}/{name}"))
    return run.array(group, name).shape


def _dims(run, group, name, shape):
    if has_layers(group) and shape[2:] == (len(run.layer_names),):
        return ("seed", "step", "layer")
    name = name.replace("/", ".")
    more = [f"{name}_{i}" if len(shape) > 3 else name + "_index" for i in range(len(shape) - 2)]
    return ("seed", "step", *more)


def plot(run, quantities=("D", "loss", "accuracy")):
    """Draw quantities of a run over training, one line per seed.

    Args:
      run: open run.
      quantities: names of quantities with one value per step; `D` is the mean dimensionality over
        hidden layers. What was not recorded is left out.

    Returns:
      A Matplotlib figure.

    Raises:
      RunError: none of the quantities was recorded.
    """
    import matplotlib.pyplot as plt  # takes .5 s

    found = {name: curve for name in quantities if (curve := _curve(run, name)) is not None}
    if not found:
        raise RunError(f"{run.path} has none of {', '.join(quantities)}")
    figure, axes = plt.subplots(
        len(found), 1, sharex=True, figsize=(7, 2.2 * len(found)), squeeze=False
    )
    for axis, (name, (steps, values_SxT)) in zip(axes[:, 0], found.items(), strict=True):
        for seed, row in zip(run.seeds, values_SxT, strict=True):
            axis.plot(steps, row, lw=1, label=f"seed {seed}")
        axis.set_ylabel(name)
    axes[0, 0].set_title(f"{run.name}: {run.model['architecture']} on {run.model['data']}")
    axes[-1, 0].set_xlabel("training step")
    if 1 < len(run.seeds) <= LISTED:
        axes[0, 0].legend(fontsize="small")
    figure.tight_layout()
    plt.close(figure)  # notebooks show the returned figure
    return figure


def _curve(run, name):
    """Return (steps, values [S, T]) of a quantity, or None."""
    if name == "D":
        d_SxT = run.known_dimension() if run.names("probe") else None
        return None if d_SxT is None else (run.steps("probe"), d_SxT)
    for group in ("probe", "scalar", "eval"):
        if run.has(group, name) and run.array(group, name).ndim == 2:
            return run.steps(group), run.array(group, name)
    return None
