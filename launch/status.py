"""Show the state and the progress of the runs of a sweep.

    tapjax status runs/rates
    watch -n 10 tapjax status runs/rates

The script reads the files that the runs themselves have written. Therefore it works during
training, from any machine that can read the folder, with or without a scheduler. --json prints one
JSON object. Exit codes: 0 done, 2 no such folder.
"""

import calendar
import json
import time
from pathlib import Path

from absl import flags

from launch.flags import main
from tapjax.config.schema import ConfigError
from tapjax.contract.files import RunError, read_json
from tapjax.contract.lease import holder
from tapjax.contract.text import plural, printable
from tapjax.sweep.jobs import FAILURES, planned, tally_of

JSON = flags.DEFINE_bool("json", False, "Print one JSON object instead of a table.")


def body(folder: str) -> int:
    """Print one line per run, and the number of runs in each state.

    Args:
      folder: folder of the runs.

    Returns:
      Exit code.
    """
    rows = survey(Path(folder))
    counts = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    if JSON.value:
        print(json.dumps({"runs": rows, "counts": counts}))
        return 0
    width = max(len(row["run"]) for row in rows)
    for row in rows:
        share = f"{row['step'] / row['steps']:4.0%}" if row["steps"] else "   ?"
        age = f"{row['age']:.0f} s ago" if row["age"] is not None else ""
        note = " ".join(row["note"].split())
        line = f"{row['run']:{width}}  {row['status']:<11} {share}  {age:>12}  {note}"
        print(printable(line.rstrip()))
    print(
        f"{plural(len(rows), 'run')}: {', '.join(f'{n} {status}' for status, n in counts.items())}"
    )
    return 0


def survey(folder: Path) -> list[dict]:
    """Collect the state of every run that was planned in a folder or is present in it.

    Args:
      folder: folder of the runs, or a single run.

    Returns:
      One dict per run, with the keys run, status (that of STATUS.json; WAITING before the run is
      started, INTERRUPTED if no process trains it any more), step, steps, age (seconds since
      STATUS.json was last written; None if unknown), interruptions, failures, holder (process that
      trains the run; empty if there is none) and note.

    Raises:
      ConfigError: the folder holds no runs.
    """
    plan = planned(folder)
    there = [path.parent.name for path in folder.glob("*/config.json")]
    names = [*plan, *sorted(set(there) - set(plan))]
    if not names and (folder / "config.json").is_file():  # a single run
        folder, names = folder.resolve().parent, [folder.resolve().name]
    if not names:
        raise ConfigError(f"{folder} holds no runs")
    return [_row(folder, name, plan.get(name)) for name in names]


def _row(folder, name, steps):
    try:
        return _state(folder, name, steps)
    except (RunError, KeyError, TypeError, ValueError, AttributeError) as error:
        nothing = {"step": 0, "steps": steps, "age": None, "interruptions": 0, "failures": 0}
        said = str(error) if isinstance(error, RunError) else f"STATUS.json is damaged: {error!r}"
        return {"run": name, "status": "FAILED", **nothing, "holder": "", "note": said}


def _state(folder, name, steps):
    path = folder / name
    status, tally = _read(path / "STATUS.json"), _read(tally_of(folder, name))
    config = _read(path / "config.json")
    by = holder(path)
    state, note = status.get("status", "WAITING"), status.get("reason", "")
    if by:
        state, note = "RUNNING", by
    elif state == "RUNNING":
        state, note = "INTERRUPTED", "nobody trains it"
    failures = max(tally.get("failures", 0) - bool(by), 0)  # the current attempt has not failed
    if failures and state != "DONE":
        note = f"{failures} of {FAILURES} attempts failed: {tally['reason'] or note}"
    return {
        "run": name,
        "status": state,
        "step": int(status.get("step", 0)),
        "steps": steps or config.get("steps"),
        "age": time.time() - _seconds(status["time"]) if "time" in status else None,
        "interruptions": status.get("interruptions", 0),
        "failures": failures,
        "holder": by,
        "note": note,
    }


def _read(path):
    return read_json(path) if path.exists() else {}


def _seconds(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


if __name__ == "__main__":
    main(body, "SWEEP")
