"""Watch a run while it trains, or examine a run that has ended, without changing it.

    tapjax monitor --run=runs/a --follow

    tapjax monitor --run=runs/a --follow --alarms=out/precursors/precursors.json

The script prints the current D, forecasts of D with 90 % intervals, their skill over persistence,
jumps and warnings. It writes monitor_state.json and monitor_visualization.png for each seed. It
does not need JAX. With `--alarms`, it also warns of an ability by those signals that `tapjax
precursors` has found to warn in past runs, and says how often they were right. Without such
signals there are no alarms.

`tapjax monitor RUNS`, with a run directory first, replays recorded runs and scores the forecasts;
`tapjax monitor RUNS --help` lists its flags.
"""

from pathlib import Path

from absl import flags

from analysis.commands.monitor import save_monitor
from analysis.live.run_watcher import Watch, follow
from launch.flags import main
from tapjax.contract.files import RunError
from tapjax.live.alarms import read_rules
from tapjax.live.monitor import METHODS

RUN = flags.DEFINE_string("run", None, "Run directory to watch.", required=True)
FOLLOW = flags.DEFINE_bool("follow", False, "Keep watching until the run ends.")
OUT = flags.DEFINE_string("out", None, "Folder to write results in; out/monitor/RUN by default.")
METRIC = flags.DEFINE_string(
    "metric", None, "Name of the dimensionality to watch; the one that the run calls D by default."
)
ALARMS = flags.DEFINE_string(
    "alarms", None, "precursors.json of `tapjax precursors`, whose signals warn of an ability."
)
METHOD = flags.DEFINE_enum("method", METHODS[0], METHODS, "Method of forecasting.")


def body() -> int:
    """Watch the run, save the results and return the exit code."""
    if ALARMS.value == "":
        raise RunError("--alarms needs the precursors.json of `tapjax precursors`")
    rules = read_rules(ALARMS.value) if ALARMS.value else []
    watch = Watch(RUN.value, METRIC.value, METHOD.value, rules)
    out = Path(OUT.value or Path("out/monitor") / Path(RUN.value).resolve().name)
    if out.exists() and not out.is_dir():
        raise RunError(f"--out={out} is no folder: name another")

    if ALARMS.value:
        print(_describe(rules))

    def ended():
        return not FOLLOW.value or watch.status != "RUNNING"

    try:
        follow(watch, lambda line: print(line, flush=True), ended)
    except KeyboardInterrupt:
        print("stopped watching")
    for seed, monitor in watch.monitors.items():
        save_monitor(monitor, watch.model, seed, out)
    print(f"{watch.status}; written to {out}")
    return 0


def _describe(rules):
    if not rules:
        return f"{ALARMS.value}: no signal was found to warn of an ability, so there are no alarms"
    return "\n".join(
        f"alarm by {rule.signal}: {rule.hits:.0%} of {rule.seeds} seeds at least {rule.ahead:.0f} "
        f"steps before {rule.ability}, and in {rule.false_alarms:.0%} of runs without it"
        for rule in rules
    )


if __name__ == "__main__":
    main(body)
