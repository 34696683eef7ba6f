"""Export of recorded runs to the formats of other tools."""

import importlib
import os
from pathlib import Path

from analysis.runs.reader import Run
from analysis.runs.tables import points
from tapjax.contract.files import RunError
from tapjax.contract.layout import STEP_AXES, replace_file, write_text

# Format -> library that it needs, and the extra of tapjax that installs it.
NEEDS = {
    "parquet": ("pyarrow", "parquet"),
    "netcdf": ("h5netcdf", "xarray"),
    "tensorboard": ("tensorboardX", "tensorboard"),
    "wandb": ("wandb", "wandb"),
}


MOST_VALUES = 64  # per step, of the quantities of measures that TensorBoard and W&B get


def export(run: Run, form: str, out: Path) -> list[Path]:
    """Write a run in another format.

    Args:
      run: open run.
      form: `csv` or `parquet` for one table per group, `netcdf` for one file with a group for each,
        `tensorboard` for one event file per seed, `wandb` for one offline run per seed.
      out: folder to write in.

    Returns:
      Files or folders that were written.

    Raises:
      RunError: the format is unknown, or its library is not installed.
    """
    if form not in FORMATS:
        raise RunError(f"--to={form!r} is not one of {', '.join(FORMATS)}")
    if form in NEEDS:
        library, extra = NEEDS[form]
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise RunError(f"--to={form} needs {library}: pip install 'tapjax[{extra}]'") from error
    out.mkdir(parents=True, exist_ok=True)
    return FORMATS[form](run, out)


def _csv(run, out):
    written = []
    for group in _groups(run):
        written.append(out / f"{run.name}_{group}.csv")
        write_text(written[-1], run.to_pandas(group).to_csv())
    return written


def _parquet(run, out):
    written = []
    for group in _groups(run):
        written.append(out / f"{run.name}_{group}.parquet")
        table = run.to_pandas(group).reset_index()
        replace_file(written[-1], table.to_parquet)
    return written


def _netcdf(run, out):
    path = out / f"{run.name}.nc"
    scratch = path.with_name(f".{path.name}.tmp")
    run.to_xarray().to_netcdf(scratch, engine="h5netcdf")
    os.replace(scratch, path)
    return [path]


def _tensorboard(run, out):
    from tensorboardX import SummaryWriter

    written = []
    for seed in run.seeds:
        written.append(out / run.name / f"seed_{seed}")
        if written[-1].exists():
            raise RunError(f"{written[-1]} exists already: choose another --out")
        with SummaryWriter(str(written[-1])) as writer:
            for step, values in _points(run, seed):
                for name, value in values.items():
                    writer.add_scalar(name, value, step)
    return written


def _wandb(run, out):
    import wandb

    for seed in run.seeds:
        with wandb.init(
            mode="offline", dir=out, project="tapjax", group=run.name, name=f"{run.name}_{seed}",
            config=run.config, settings=wandb.Settings(console="off", silent=True),
        ) as logged:  # fmt: skip
            for step, values in _points(run, seed):
                logged.log(values, step=step)
    return sorted((out / "wandb").glob("offline-run-*"))


def _groups(run):
    return [group for group in (*STEP_AXES, *run.measured) if run.names(group)]


def _points(run, seed):
    """Yield each recorded step with the finite numbers of one seed at it, by `group/name`."""
    record = {STEP_AXES.get(group, f"{group}_step"): run.steps(group) for group in _groups(run)}
    record |= {f"{g}/{name}": run.array(g, name) for g in _groups(run) for name in run.names(g)}
    many = {
        f"{measure}/{name}"
        for measure in run.measured
        for name in run.names(measure)
        if run.array(measure, name)[0, 0].size > MOST_VALUES
    }
    record = {name: values for name, values in record.items() if name not in many}
    for step, by_seed in points(record, run.seeds, run.layer_names):
        if seed in by_seed:
            yield step, by_seed[seed]


FORMATS = {
    "csv": _csv, "parquet": _parquet, "netcdf": _netcdf, "tensorboard": _tensorboard,
    "wandb": _wandb,
}  # fmt: skip
