"""Ask whether a change of the network mattered, by undoing it in single units and whole layers.

    tapjax intervene --run=runs/a                                  # around its critical steps
    tapjax intervene --run=runs/a --moment=1200 --layers=conv_1
    tapjax intervene --run=runs/a --moment=1200 --unit=conv_1:2    # chosen beforehand

For each critical step, the network is computed again shortly before and shortly after it. Each unit
and each layer of the later network gets the activations of the earlier one (undo), the other way
round (transplant), and its mean activation in both (ablation). The effects on the loss, on 256
probe examples, are compared with those between ordinary pairs of steps that are equally far apart.
The script prints the cost first, writes RUN/interventions, leaves out what is there already, and
prints the most unusual effects; `tapjax mechanistic` draws them. Exit codes: 0 done, 1 failed,
2 bad usage or bits that differ.

A config may name code (`package.module:function`), and this script imports that code. Therefore,
intervene only in runs that you trust.
"""

from pathlib import Path

from absl import flags
from tqdm import tqdm

from launch.flags import check_reached, define_drift, main, parse_steps
from tapjax.config.schema import ConfigError
from tapjax.contract.layout import INTERVENTIONS, write_json
from tapjax.run.compilation_cache import keep_compiled

RUN = flags.DEFINE_string("run", None, "Run directory to intervene in.", required=True)
MOMENT = flags.DEFINE_string("moment", "", "Critical steps, as in 1200; by default jumps.")
LAYERS = flags.DEFINE_list("layers", [], "Layers to intervene in; by default all.")
UNIT = flags.DEFINE_string("unit", "", "The only unit to test, LAYER:NUMBER.")
MOST = flags.DEFINE_integer("most", 3, "Maximum number of critical steps.", lower_bound=1)
DRY = flags.DEFINE_bool("dry_run", False, "Print the cost, and compute nothing.")
DRIFT = define_drift()
COLUMNS = ("step", "seed", "layer", "intervention", "unit", "effect", "ordinary", "z", "p")
SHOWN = 5  # rows per critical step


def body() -> int:
    """Intervene in the run, and return the exit code."""
    from analysis import open_run
    from analysis.mechanistic.critical_steps import plan
    from analysis.mechanistic.interventions import check_pairs
    from tapjax.run.interventions import EXAMPLES, choose_layers, intervene, missing_pairs
    from tapjax.run.replay import Drift, open_timeline, sources

    path, unit = Path(RUN.value), _unit(UNIT.value)
    run = open_run(path, partial=True)
    planned = plan(run, MOST.value, parse_steps(MOMENT.value, "--moment"))
    if not planned["moments"]:
        print(f"{path} has no critical step: name one with --moment")
        return 0
    check_pairs(run, planned)
    sides = [(m["triple"][0]["step"], m["triple"][-1]["step"]) for m in planned["moments"]]
    pairs = {*sides, *(tuple(pair) for m in planned["moments"] for pair in m["null"])}
    check_reached(path, [after for _, after in pairs])
    keep_compiled()
    with open_timeline(path, DRIFT.value) as timeline:
        layers = choose_layers(timeline, LAYERS.value, unit)
        left = missing_pairs(path, pairs, layers)
        steps = sorted({step for pair in left for step in pair})
        again = sum(step - start for start, step in sources(timeline, steps))
        passes = 2 * 2 * sum(layers.values()) * len(left) * len(run.seeds)
        print(
            f"{again} steps to run again, {len(left)} pairs of steps to intervene in, which takes "
            f"about {passes:,} forward passes over {EXAMPLES} examples",
            flush=True,
        )
        if DRY.value:
            return 0
        drift = Drift(path / "records", timeline.assembly.cfg.scalar_bin, DRIFT.value)
        done = intervene(timeline, path, left, layers, drift)
        list(tqdm(done, total=len(left), desc="pairs", unit="pair", disable=None))
    if not unit:  # the tests of single units are not those of `tapjax mechanistic`
        write_json(path / INTERVENTIONS / "moments.json", planned)
    _show(run, unit, planned)
    print(f"{path / INTERVENTIONS}: {len(left)} new pairs; {drift.describe()}")
    return 0


def _unit(text):
    """Read LAYER:NUMBER; None for no text."""
    if not text:
        return None
    layer, _, number = text.rpartition(":")
    if not (layer and number.isdecimal()):
        raise ConfigError(f"--unit={text!r} must be LAYER:NUMBER, as in conv_1:2")
    return layer, int(number)


def _show(run, unit, planned):
    import pandas as pd

    from analysis.mechanistic.interventions import compare

    rows = [
        {"step": moment.about["step"], "seed": moment.about["seed"]} | row
        for moment in compare(run, unit, planned)
        for row in moment.rows[:SHOWN]
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["unit"] = table["unit"].map(lambda unit: "all" if pd.isna(unit) else int(unit))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))


if __name__ == "__main__":
    main(body)
