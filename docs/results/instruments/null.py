"""Count how often interventions at ordinary steps of a run have an effect beyond the null.

    python docs/results/instruments/null.py --run=runs/ordinary

If there is no such run, a small CNN is trained on digits first. Every step is tested by itself, and
p is corrected for the units, layers and interventions, not for the steps.
"""

from pathlib import Path

import numpy as np
from absl import app, flags

from analysis import open_run
from analysis.mechanistic.critical_steps import plan
from analysis.mechanistic.interventions import compare
from configs.tap import calibration
from tapjax.run import loop
from tapjax.run.interventions import choose_layers, intervene, missing_pairs
from tapjax.run.replay import open_timeline

RUN = flags.DEFINE_string("run", None, "Run directory.", required=True)
STEPS, EVERY = range(300, 1500, 60), 2


def train(path: Path) -> None:
    """Train a network in which nothing is planted."""
    config = calibration.get_config("arch=cnn:channels=4-8,steps=1600")
    config.eval_every, config.chunk_steps, config.data.batch_size = 0, 160, 32
    config.probe.update({"every": EVERY, "size": 128})
    config.checkpoint.update({"every": 80, "keep_period": 160, "pin_window": 5 * EVERY})
    loop.run(config, path)


def main(_):
    """Train the network if needed, intervene, and print the rates of small p-values."""
    path, found = Path(RUN.value), []
    if not path.exists():
        train(path)
    run = open_run(path)
    with open_timeline(path) as timeline:
        layers = choose_layers(timeline, ())
        for step in STEPS:
            planned = plan(run, 1, [step])
            pairs = {tuple(pair) for moment in planned["moments"] for pair in moment["null"]}
            sides = planned["moments"][0]["triple"]
            pairs.add((sides[0]["step"], sides[-1]["step"]))
            list(intervene(timeline, path, missing_pairs(path, pairs, layers), layers))
            moments = compare(run, planned=planned)
            found += [min(row["p"] for row in each.rows) / len(moments) for each in moments]
    p_N = np.array(found)
    print(f"{len(p_N)} tests: {np.mean(p_N <= 0.05):.1%} at .05, {np.mean(p_N <= 0.1):.1%} at .1")


if __name__ == "__main__":
    app.run(main)
