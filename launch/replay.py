"""Recompute any step of a run: its weights, activations, attention, filters or gradients.

    tapjax replay --run=runs/a --steps=1200:1300:10 --record=weights,activations
    tapjax replay --run=runs/a --moments     # around its jumps, for analysis mechanistic
    tapjax replay --run=runs/a --pin         # keep checkpoints around its jumps

Steps are numbers and START:STOP:STEP ranges, STOP excluded. The state of a step is the state before
its update. The script starts from the nearest checkpoint at or before a step and writes
RUN/snapshots/STEP.npz. It prints the cost first. During the replay it compares its measurements
with those that the run recorded. Exit codes: 0 done, 1 failed, 2 bad usage or bits that differ.

A config may name code (`package.module:function`), and a replay imports that code. Therefore,
replay only runs that you trust.
"""

import os
import shutil
from pathlib import Path

from absl import flags
from tqdm import tqdm

from launch.flags import check_reached, define_drift, main, parse_steps
from tapjax.config.schema import ConfigError
from tapjax.contract.layout import RECORDS, write_json
from tapjax.run.compilation_cache import keep_compiled

RUN = flags.DEFINE_string("run", None, "Run directory to replay.", required=True)
STEPS = flags.DEFINE_string(
    "steps",
    "",
    "Steps to compute again, as in 0,500,1200:1300:10; their states are those before the update.",
)
RECORD = flags.DEFINE_list(
    "record", ["weights", "activations"], f"What to save of each step: any of {', '.join(RECORDS)}."
)
EXAMPLES = flags.DEFINE_integer(
    "examples",
    16,
    "Number of probe examples for which attention and feature maps are saved.",
    lower_bound=1,
)
OUT = flags.DEFINE_string("out", None, "Folder to write snapshots in; RUN/snapshots by default.")
MOMENTS = flags.DEFINE_bool(
    "moments",
    False,
    "Save what `tapjax mechanistic` needs: the states around critical steps and ordinary ones.",
)
MOST = flags.DEFINE_integer(
    "most", 3, "Maximum number of critical steps (--moments) or jumps (--pin).", lower_bound=1
)
PIN = flags.DEFINE_bool(
    "pin", False, "Keep checkpoints of --steps, or of the states around jumps, in RUN/pins."
)
DRY = flags.DEFINE_bool("dry_run", False, "Print what the replay would cost, and compute nothing.")
DRIFT = define_drift()
OF_MOMENTS = ("weights", "activations", "attention")


def body() -> int:
    """Replay the steps, write snapshots or pins, and return the exit code."""
    path = Path(RUN.value)
    steps = parse_steps(STEPS.value)
    if not (steps or MOMENTS.value or PIN.value):
        raise ConfigError("nothing to do: give --steps, --moments or --pin")
    if MOMENTS.value and PIN.value:
        raise ConfigError("--moments and --pin cannot be combined: give one of them")
    keep_compiled()
    return _pin(path, steps) if PIN.value else _snapshots(path, steps)


def _snapshots(path, steps):
    from analysis import open_run
    from analysis.mechanistic.critical_steps import plan
    from tapjax.run.replay import Drift, open_timeline
    from tapjax.run.snapshots import check_records, make_writer, write_snapshots

    out = Path(OUT.value) if OUT.value else path / "snapshots"
    records, planned = RECORD.value, None
    if MOMENTS.value:
        planned = plan(open_run(path, partial=True), MOST.value, steps)
        steps, records = planned["steps"], OF_MOMENTS
    check_records(records)
    with open_timeline(path, DRIFT.value) as timeline:
        check_reached(path, steps)
        writer = make_writer(timeline, records, EXAMPLES.value)
        _say_cost(timeline, steps, len(steps) * writer.bytes_each)
        if DRY.value:
            return 0
        _check_space(out, len(steps) * writer.bytes_each)
        drift = Drift(path / "records", timeline.assembly.cfg.scalar_bin, DRIFT.value)
        files = write_snapshots(writer, steps, out, drift)
        list(tqdm(files, total=len(steps), desc="snapshots", unit="file", disable=None))
    if planned:
        write_json(out / "moments.json", planned)
    print(f"{len(steps)} snapshots in {out}; {drift.describe()}")
    return 0


def _pin(path, steps):
    from analysis import open_run
    from analysis.mechanistic.critical_steps import jumps_of_run
    from tapjax.config import schema
    from tapjax.run import live_jumps, pins
    from tapjax.run.replay import open_timeline
    from tapjax.types import tree_bytes

    with open_timeline(path, DRIFT.value) as timeline:
        reached = check_reached(path, steps)
        wanted = {step: [{"side": "asked for"}] for step in steps}
        if not steps:
            kept = ("seed", "layer", "step", "size", "score")
            found = [
                {name: row[name] for name in kept} for row in jumps_of_run(open_run(path, True))
            ]
            window = schema.pin_window(timeline.assembly.cfg)
            wanted = live_jumps.pins(found, MOST.value, window, reached)
        if not wanted:
            print("no jumps, nothing to pin")
            return 0
        _say_cost(timeline, wanted, len(wanted) * tree_bytes(timeline.assembly.like))
    if not DRY.value:
        pins.ask_for(path, wanted, DRIFT.value)
        print(f"pinned {', '.join(map(str, wanted))} in {path / 'pins'}")
    return 0


def _say_cost(timeline, steps, size):
    from tapjax.run.replay import sources

    run = sum(step - start for start, step in sources(timeline, steps))
    print(f"{run} steps to run again, {len(steps)} files, {size / 1e6:.1f} MB to write", flush=True)


def _check_space(out, size):
    whole = out.resolve()
    existing = next(folder for folder in (whole, *whole.parents) if folder.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise ConfigError(f"--out={out}: {existing} is not a folder that can be written")
    free = shutil.disk_usage(existing).free
    if size > free:
        raise ConfigError(
            f"{size / 1e9:.1f} GB do not fit on the disk of {out} ({free / 1e9:.1f} GB free): "
            "ask for fewer steps, less of --record, or another --out"
        )


if __name__ == "__main__":
    main(body)
