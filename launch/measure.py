"""Measure a run at any of its steps, afterwards, by computing them again.

    tapjax measure --run=runs/a --measures=curvature,kernel --steps=0:2000:50
    tapjax measure --run=runs/a --measures=mypackage.mymodule:my_measure --steps=0,1000

Steps are numbers and START:STOP:STEP ranges, STOP excluded. The state of a step is the state before
its update. The script starts from the nearest checkpoint at or before a step and writes
RUN/measures/NAME. Steps that were measured before are left out. It prints the cost first, and
compares the replay with what the run recorded. Exit codes: 0 done, 1 failed, 2 bad usage or bits
that differ.

A config may name code (`package.module:function`), and this script imports that code. Therefore,
measure only runs that you trust.
"""

from pathlib import Path

from absl import flags
from tqdm import tqdm

from launch.flags import check_reached, define_drift, main, parse_steps
from tapjax.config.schema import ConfigError
from tapjax.measure.measures import MEASURES
from tapjax.run.compilation_cache import keep_compiled

RUN = flags.DEFINE_string("run", None, "Run directory to measure.", required=True)
NAMES = flags.DEFINE_list(
    "measures",
    [],
    "What to measure: import paths, or any of "
    + "; ".join(f"{name} ({measure.help})" for name, measure in MEASURES.items())
    + ".",
)
STEPS = flags.DEFINE_string("steps", "", "Steps to measure, as in 0,500,1200:1300:10.")
DRY = flags.DEFINE_bool("dry_run", False, "Print the cost, and compute nothing.")
DRIFT = define_drift()


def body() -> int:
    """Measure the run, and return the exit code."""
    from tapjax.measure.measures import check, chosen
    from tapjax.run.measuring import measure_steps, missing_steps
    from tapjax.run.replay import Drift, open_timeline, sources

    path, asked = Path(RUN.value), parse_steps(STEPS.value)
    measures = chosen(NAMES.value)
    if not measures or not asked:
        raise ConfigError("nothing to do: give --measures and --steps")
    check_reached(path, asked)
    keep_compiled()
    with open_timeline(path, DRIFT.value) as timeline:
        ready = timeline.assembly
        check(measures, ready.recipe, ready.cfg, ready.like, ready.data)
        steps = missing_steps(path, list(measures), asked)
        wanted = sorted(set().union(*steps.values()))
        again = sum(step - start for start, step in sources(timeline, wanted))
        passes = sum(len(steps[name]) * measure.cost for name, measure in measures.items())
        passes *= len(timeline.assembly.cfg.seeds)
        print(
            f"{again} steps to run again; {len(wanted)} steps to measure, which takes about the "
            f"time of {passes:,.0f} forward passes over the probe examples",
            flush=True,
        )
        if DRY.value or not wanted:
            return 0
        drift = Drift(path / "records", timeline.assembly.cfg.scalar_bin, DRIFT.value)
        progress = measure_steps(timeline, path, measures, steps, drift)
        shown = tqdm(progress, total=len(wanted), desc="measured", unit="step", disable=None)
        seconds = sum(each.seconds for each in shown)
    print(f"{path / 'measures'}: {', '.join(measures)} in {seconds:.1f} s; {drift.describe()}")
    return 0


if __name__ == "__main__":
    main(body)
