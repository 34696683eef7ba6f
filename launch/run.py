"""Train and measure one config.

    tapjax run --config=configs/tap/calibration.py:quick --workdir=runs/a
    tapjax run --config=configs/tap/calibration.py --config.optimizer.lr=3e-4 ...

The same command resumes an interrupted run. With a larger number of steps it continues a finished
run. With --monitor, forecasts, jumps and warnings are printed during training and kept in
WORKDIR/monitor. Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 diverged, 75 preempted.
"""

import contextlib
import sys
import threading
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from launch.flags import EXIT, main
from launch.training import CTRL_C
from tapjax.config.schema import check, flatten
from tapjax.contract.files import RunError, read_json
from tapjax.run.compilation_cache import keep_compiled

CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="Config file and, after a colon, its arguments, as in FILE.py:quick,seeds=5; "
    "--config.FIELD=VALUE sets a field.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Run directory to write in; required unless --dry_run is given."
)
RESUME = flags.DEFINE_enum(
    "resume",
    "auto",
    ["auto", "must", "never"],
    "Resume a run that exists if there is one (auto), demand one (must) or refuse one (never).",
)
MONITOR = flags.DEFINE_bool(
    "monitor", False, "Print forecasts, jumps and warnings while the network trains."
)
DRIFT = flags.DEFINE_bool(
    "allow_numeric_drift",
    False,
    "Resume although the bits may differ, for example with another number of cores or other "
    "versions.",
)
LOG = flags.DEFINE_list(
    "log",
    [],
    "Send the records to other tools while they are written: tensorboard, wandb, or both.",
)
EXTEND = flags.DEFINE_bool(
    "extend",
    False,
    "Continue a finished run with more steps although a schedule depends on their number.",
)
DRY = flags.DEFINE_bool(
    "dry_run",
    False,
    "Print the resolved config and what the run would cost in memory and, by training a few steps, "
    "in time. No run directory is made.",
)


def body() -> int:
    """Run the config, report the outcome and return the exit code."""
    if CONFIG.value is None:
        given = flags.FLAGS["config"].present
        problem = "get_config returned None, not a config" if given else "--config=FILE is missing"
        print(f"error: {problem}", file=sys.stderr)
        return 2
    if WORKDIR.value is None and not DRY.value:
        print(f"error: --workdir=... is missing: {flags.FLAGS['workdir'].help}", file=sys.stderr)
        return 2
    check(CONFIG.value)
    keep_compiled()
    from tapjax.run import loop

    if DRY.value:
        print("\n".join(f"{name} = {value!r}" for name, value in flatten(CONFIG.value).items()))
        print("\n".join(loop.preview(CONFIG.value)), flush=True)
        print(loop.time_needed(CONFIG.value))
        return 0
    before = None
    with contextlib.suppress(RunError):  # loop.run reports a damaged STATUS.json
        before = _status(Path(WORKDIR.value))

    with _monitor() if MONITOR.value else contextlib.nullcontext(), _loggers(LOG.value):
        outcome = loop.run(
            CONFIG.value,
            WORKDIR.value,
            RESUME.value,
            DRIFT.value,
            EXTEND.value,
            progress="training",
        )
    if outcome.reason == CTRL_C:
        raise KeyboardInterrupt(f"stopped at step {outcome.step}; the same command resumes")
    already = "already " if before == (outcome.status, outcome.step) else ""
    print(f"{already}{outcome.status} at step {outcome.step} {outcome.reason}".rstrip())
    return EXIT[outcome.status]


@contextlib.contextmanager
def _loggers(names):
    """Send the records of the run to loggers, from a separate thread."""
    if not names:
        yield
        return
    from tqdm import tqdm

    from analysis.live.loggers import check, forward_until

    check(names)
    ended = threading.Event()
    args = (ended, Path(WORKDIR.value), names, tqdm.write)
    thread = threading.Thread(target=forward_until, args=args)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _monitor():
    """Watch the run directory from a separate thread, as launch.monitor does from outside."""
    from tqdm import tqdm

    from analysis.commands.monitor import save_monitor
    from analysis.live.run_watcher import POLL, Watch, follow
    from analysis.runs.reader import RunError

    ended, failed, workdir = threading.Event(), threading.Event(), Path(WORKDIR.value)

    def watch():
        # The records of an interrupted run are read only after the run has resumed.
        while _status(workdir)[0] != "RUNNING" and not ended.wait(POLL):
            pass
        if failed.is_set():
            return
        try:
            watched = Watch(workdir)
            follow(watched, tqdm.write, ended.is_set)
            if not failed.is_set():
                for seed, monitor in watched.monitors.items():
                    save_monitor(monitor, watched.model, seed, workdir / "monitor")
        except (OSError, RunError) as error:
            tqdm.write(f"monitor: {error}")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    except BaseException:
        failed.set()
        raise
    finally:
        ended.set()
        thread.join()


def _status(workdir):
    path = workdir / "STATUS.json"
    found = read_json(path) if path.exists() else {}
    return found.get("status"), found.get("step")


if __name__ == "__main__":
    main(body)
