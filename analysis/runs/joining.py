"""Several runs of one experiment as a single run with all their seeds."""

from pathlib import Path

import numpy as np

from analysis.runs.reader import Run
from analysis.runs.seeds import differing
from tapjax.contract.files import RunError
from tapjax.contract.layout import SCHEMA, STEP_AXES, record_name, write_json, write_npz
from tapjax.contract.text import did_you_mean, shortened

OWN = ("seeds", "steps", "former_steps")  # fields that runs of one experiment need not share


def join(runs: list[Run], out: Path, ignored=()) -> list[str]:
    """Write one run directory with the seeds of several runs.

    The runs must have been recorded at the same steps, up to the end of the shortest. If two of
    them have a seed of the same number, all seeds are numbered anew in the order of the runs.

    Args:
      runs: open runs of the same experiment.
      out: run directory to create.
      ignored: names of settings that may differ; the joined run has those of the first run.

    Returns:
      Remarks for the user, for example that a run is longer than the others.

    Raises:
      RunError: runs have other layers, settings or steps, or `out` already holds a run.
    """
    if (out / "config.json").exists():
        raise RunError(f"{out} already holds a run: choose another --out")
    if len(runs) < 2:
        raise RunError("joining needs two runs or more")
    first = runs[0]
    _check_alike(runs, ignored)
    remarks = [f"{r.name}: seeds {', '.join(r.diverged)} diverged" for r in runs if r.diverged]
    seeds = [seed for run in runs for seed in run.seeds]
    if len(set(seeds)) < len(seeds):
        seeds = list(range(len(seeds)))
        remarks.append("seeds have the same numbers: they are numbered in the order of the runs")
    record, said = _joined(runs)
    out.mkdir(parents=True, exist_ok=True)
    (out / "records").mkdir(exist_ok=True)
    write_npz(out / "records" / record_name(int(record["step"][0])), record)
    end = int(record["step"][-1]) + 1
    joined = {"schema": SCHEMA, "joined_from": [str(run.path) for run in runs]}
    config = {name: v for name, v in first.config.items() if name not in ("seeds", "steps")}
    write_json(out / "env.json", first.env | joined)
    write_json(out / "data.json", first.data)
    write_json(out / "model.json", first.model)
    reason = f"joined from {len(runs)} runs"
    write_json(out / "STATUS.json", {"status": "DONE", "step": end, "reason": reason})
    write_json(out / "config.json", config | {"seeds": seeds, "steps": end, "recorded": True})
    return remarks + said


def _check_alike(runs, ignored):
    """Refuse runs that are not of one experiment; the message names what differs."""
    for name in ("layer_names", "head", "dimension"):
        values = [run.model[name] for run in runs]
        for run, value in zip(runs, values, strict=True):
            if value != values[0]:
                raise RunError(
                    f"{run.path} has {name}={value!r}, and {runs[0].path} {values[0]!r}: only "
                    "runs of one experiment can be joined"
                )
    flat = [_flat({n: v for n, v in run.config.items() if n not in OWN}) for run in runs]
    names = dict.fromkeys(name for each in flat for name in each)
    for name in ignored:
        if not any(_is(name, known) for known in names):
            hint = did_you_mean(name, names)
            raise RunError(f"--ignore={name}: no run has such a setting{hint}")
    # A setting such as `seed` or `run.random_seed` tells the runs apart.
    told = [
        {
            known: each.get(known)
            for known in names
            if "seed" not in known.lower() and not any(_is(name, known) for name in ignored)
        }
        for each in flat
    ]
    changed = sorted(differing(told)) if told[0] else []
    if changed:
        values = [f"{name}: {sorted({repr(each[name]) for each in told})}" for name in changed]
        raise RunError(
            f"the runs differ in {shortened(values)}: join those of equal settings, or name the "
            "settings that may differ with --ignore"
        )


def _is(name, known):
    """Whether a name is that of a setting of a Recorder or of our own config, or of a group."""
    return f"{known}.".startswith((f"{name}.", f"settings.{name}."))


def _flat(config, prefix=""):
    found = {}
    for name, value in config.items():
        nested = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found


def _joined(runs):
    """Return the arrays of all runs along the axis of seeds, and remarks on what is left out."""
    record, remarks = {"previous": np.array(-1)}, []
    for group, axis in STEP_AXES.items():
        names = [set(run.names(group)) for run in runs]
        shared = set.intersection(*names)
        lost = sorted(set.union(*names) - shared)
        if lost:
            remarks.append(f"not in all runs and left out: {', '.join(lost)}")
        if not shared:
            continue
        steps = [run.steps(group) for run in runs]
        length = min(map(len, steps))
        for run, each in zip(runs, steps, strict=True):
            if (each[:length] != steps[0][:length]).any():
                raise RunError(
                    f"{run.path} was recorded at other steps than {runs[0].path} ({axis})"
                )
        if len({len(each) for each in steps}) > 1:
            remarks.append(f"{group}: the runs are cut to step {steps[0][length - 1]}")
        record[axis] = steps[0][:length]
        for name in sorted(shared):
            parts = [run.array(group, name)[:, :length] for run in runs]
            if len({part.shape[2:] for part in parts}) > 1:
                shapes = ", ".join(str(part.shape[2:]) for part in parts)
                raise RunError(f"{name!r} has other shapes in some runs: {shapes}")
            record[f"{group}/{name}"] = np.concatenate(parts).astype(np.float32)
    if "step" not in record:
        record["step"] = record["probe_step"]
    return record, remarks
