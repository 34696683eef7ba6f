"""Draw all measures of three networks, and write them as a table.

    python docs/results/instruments/figure.py RUNS docs/results/instruments

RUNS holds the runs `mlp`, `cnn` and `transformer` of configs/tap/instruments.py.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from analysis import open_run
from analysis.figures.style import COLOURS, look, save
from analysis.mechanistic.similarity import similarity

matplotlib.use("Agg")
NETWORKS = ("mlp", "cnn", "transformer")


def series(run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return label -> (steps [T], values [S, T]) of one run."""
    lr = run.config["optimizer"]["lr"]
    found = {"accuracy (probe)": (run.steps("probe"), run.array("probe", "accuracy"))}
    found["D"] = (run.steps("probe"), run.dimension())
    at = run.steps("intrinsic_dimension")
    found["intrinsic dimension\n(TwoNN, last hidden layer)"] = (
        at, run.array("intrinsic_dimension", "two_nn")[:, :, run.hidden[-1]]
    )  # fmt: skip
    found["noise scale\n(examples)"] = (
        run.steps("noise_scale"), run.array("noise_scale", "noise_scale")
    )  # fmt: skip
    at = run.steps("curvature")
    preconditioned_SxT = run.array("curvature", "preconditioned_top")[:, :, 0] * lr / 38
    preconditioned_SxT[:, at == 0] = np.nan  # Adam has no second moment yet
    found["sharpness x lr / 38\n(preconditioned)"] = (at, preconditioned_SxT)
    found["sharpness x lr / 2"] = (at, run.array("curvature", "top")[:, :, 0] * lr / 2)
    at = run.steps("kernel")
    found["tangent kernel:\nalignment with labels"] = (at, run.array("kernel", "alignment"))
    kernel_SxTxP = run.array("kernel", "kernel").reshape(len(run.seeds), len(at), -1)
    unit = kernel_SxTxP / np.linalg.norm(kernel_SxTxP, axis=2, keepdims=True)
    found["tangent kernel:\ncosine with the first"] = (at, (unit * unit[:, :1]).sum(2))
    found["NC1 (within-class spread)"] = (run.steps("collapse"), run.array("collapse", "nc1"))
    found["NC4 (not the nearest mean)"] = (run.steps("collapse"), run.array("collapse", "nc4"))
    at = run.steps("weight_spectrum")
    found["spikes of weights\n(sum over matrices)"] = (
        at, run.array("weight_spectrum", "spikes").sum(2)
    )  # fmt: skip
    measured = "llc" in run.measured
    found["local learning\ncoefficient"] = (
        (run.steps("llc"), run.array("llc", "llc"))
        if measured
        else (run.steps("probe")[[0, -1]], np.full((len(run.seeds), 2), np.nan))
    )
    at = run.steps("barrier")
    for name, label in (("barrier", "barrier to other seeds"), ("matched", "the same, matched")):
        values = run.array("barrier", name)[:, :, :-1]
        found[label] = (at, values.sum(2) / (len(run.seeds) - 1))
    found["barrier to the end"] = (at, run.array("barrier", "barrier")[:, :, -1])
    alike = similarity(run)
    found["CKA between seeds\n(hidden layers)"] = (
        alike.steps, alike.seeds[[alike.names.index(run.layer_names[i]) for i in run.hidden]]
        .mean(0, keepdims=True),
    )  # fmt: skip
    correct = run.array("examples", "correct")
    found["share of examples that were\nright before and are wrong"] = (
        run.steps("examples"),
        ((np.maximum.accumulate(correct, 1) > 0) & (correct == 0)).mean(2),
    )
    return found


def draw(runs: dict, out: Path):
    """Write measures.png and course.csv for runs by the name of their network."""
    import matplotlib.pyplot as plt

    found = {net: series(run) for net, run in runs.items()}
    labels = list(next(iter(found.values())))
    with look(width="page"):
        figure, axes = plt.subplots(
            len(labels), len(runs), figsize=(10, 1.45 * len(labels)), sharex="col",
            layout="constrained",
        )  # fmt: skip
        for column, (net, of_net) in zip(axes.T, found.items(), strict=True):
            column[0].set_title(f"{net}: {runs[net].model['architecture']}")
            for axis, label in zip(column, labels, strict=True):
                steps, values_SxT = of_net[label]
                finite = values_SxT[np.isfinite(values_SxT)]
                for i, row in enumerate(values_SxT):
                    axis.plot(steps, row, ".-", color=COLOURS[i], markersize=3, linewidth=1)
                if len(finite) and finite.min() > 0 and finite.max() > 50 * finite.min():
                    axis.set_yscale("log")
                if not len(finite):
                    axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center")
                axis.grid(alpha=0.25)
            column[-1].set_xlabel("training step")
        for axis, label in zip(axes[:, 0], labels, strict=True):
            axis.set_ylabel(label, rotation=0, ha="right", va="center")
        save(figure, out / "measures")
    table = [
        {"net": net, "quantity": label.replace("\n", " ")} | _course(steps, values, runs[net])
        for net, of_net in found.items()
        for label, (steps, values) in of_net.items()
    ]
    pd.DataFrame(table).to_csv(out / "course.csv", index=False, float_format="%.4g")


def _course(steps, values_SxT, run):
    """Return the mean over seeds at five times, at the nearest measured steps."""
    wanted = np.linspace(0, run.config["steps"], 5)
    at = [int(np.abs(steps - step).argmin()) for step in wanted]
    near = np.abs(steps[at] - wanted) <= 0.1 * run.config["steps"]
    with np.errstate(invalid="ignore"):
        means = np.where(np.isfinite(values_SxT), values_SxT, np.nan)[:, at].mean(0)
    means = np.where(near, means, np.nan)
    return dict(zip(("start", "1/4", "1/2", "3/4", "end"), means, strict=True))


if __name__ == "__main__":
    folder, out = map(Path, sys.argv[1:])
    draw({net: open_run(folder / net) for net in NETWORKS if (folder / net).exists()}, out)
