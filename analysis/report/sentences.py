"""Sentences that say what was run, and what happened to D, loss and accuracy."""

import statistics
from collections.abc import Sequence

import numpy as np

from analysis.figures.course import Curves, accuracy_label
from analysis.runs.reader import Run
from tapjax.contract.text import plural

FEW = 6  # runs that get a sentence each; more are summarised together
SOFTWARE = ("tapjax", "jax", "flax", "optax")
NEAR = 0.02  # relative change of D that is not called a fall or a rise


def what_was_run(runs: Sequence[Run]) -> list[str]:
    """Describe the experiments in words: networks, data, training, measurement, and software.

    Args:
      runs: open runs.

    Returns:
      Lines of text.
    """
    names = _listed(sorted({run.model["architecture"] for run in runs}))
    data = _listed(sorted({run.model["data"] for run in runs}))
    seeds = _range([len(run.config["seeds"]) for run in runs], "seed")
    steps = _range([run.config["steps"] for run in runs], "step")
    metrics = _listed(sorted({run.model["dimension"].replace("_", " ") for run in runs}))
    every = _range([_cadence(run) for run in runs if _cadence(run)], "step")
    lines = [f"{plural(len(runs), 'run')}: {names} on {data}; {seeds} per run, {steps}."]
    trained = sorted({_training(run.config) for run in runs if "optimizer" in run.config})
    lines += [f"Training: {'; '.join(trained)}."] if trained else []
    measured = f"D is the {metrics} of the activations, averaged over the hidden layers"
    lines.append(f"{measured}{f', measured every {every}' if every else ''}.")
    made_up = sum(bool(run.model.get("synthetic")) for run in runs)
    if made_up:
        lines.append(f"SYNTHETIC data: {plural(made_up, 'run')}.")
    return [*lines, *_software(runs)]


def _software(runs):
    versions = [run.env["versions"] for run in runs if "versions" in run.env]
    used = sorted({", ".join(f"{n} {v[n]}" for n in SOFTWARE if n in v) for v in versions})
    commits = sorted({run.env["commit"] for run in runs if run.env.get("commit")})
    kinds = {run.env["device_kind"] for run in runs if "device_kind" in run.env}
    devices = sorted(" ".join(dict.fromkeys(kind.split())) for kind in kinds)
    ended = sorted(run.status["time"] for run in runs if run.status.get("time"))
    facts = [_listed(used)] if used else []
    facts += [f"commit {_listed(commits)}"] if commits else []
    facts += [f"on {_listed(devices)}"] if devices else []
    facts += [f"last change {ended[-1]}"] if ended else []
    return [f"Software: {'; '.join(facts)}."] if facts else []


def _training(config):
    optimizer = config["optimizer"]
    words = f"{optimizer['name']} with learning rate {optimizer['lr']:g}"
    words += f" ({optimizer['schedule']})" if optimizer.get("schedule") != "constant" else ""
    return f"{words}, batches of {config['data']['batch_size']}"


def _cadence(run):
    steps = run.steps("probe") if run.has("probe", run.model["dimension"]) else []
    gaps = set(np.diff(steps).tolist()[:-1] or np.diff(steps).tolist())
    return int(gaps.pop()) if len(gaps) == 1 else None


def _listed(names, most=6):
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _range(numbers, noun):
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return plural(low, noun) if low == high else f"{low:,} to {plural(high, noun)}"


def what_happened(runs: Sequence[Curves]) -> list[str]:
    """Describe how D and the accuracy changed, in one sentence per run or in one for many runs.

    Args:
      runs: curves of each run.

    Returns:
      Sentences.
    """
    if len(runs) <= FEW:
        return [_one(run) for run in runs]
    curves = [run.quantities["D"] for run in runs if "D" in run.quantities]
    lines = _fall([_turn(curve) for curve in curves]) if curves else []
    scores = [run.final_accuracy for run in runs if run.final_accuracy is not None]
    if scores:
        lines.append(f"The final {accuracy_label(runs)} is {min(scores):.3f} to {max(scores):.3f}.")
    return lines


def _fall(turns):
    """Summarise the lowest and the final D of many runs."""
    fallen = [turn for turn in turns if turn[0] < 1 - NEAR]
    count = f"D falls below its initial value in {len(fallen)} of {plural(len(turns), 'run')}"
    if not fallen:
        return [f"{count}."]
    share, step = (statistics.median(turn[i] for turn in fallen) for i in (0, 1))
    end = statistics.median(turn[2] for turn in turns)
    return [
        f"{count}, in the median of these to {share:.2f} of it by step {step:,.0f}. In the median "
        f"run it ends at {end:.2f} of its initial value."
    ]


def _turn(curve):
    """Return lowest D and final D, relative to the initial D, and the step of the lowest."""
    at = int(curve.mean.argmin())
    start = curve.mean[0] or np.nan
    return curve.mean[at] / start, int(curve.step[at]), curve.mean[-1] / start


def _one(run):
    text = [_course(run.quantities["D"])] if "D" in run.quantities else []
    if run.final_accuracy is not None:
        text.append(f"the final {run.accuracy} is {run.final_accuracy:.3f}")
    elif "loss" in run.quantities:
        text.append(f"the final training loss is {run.quantities['loss'].mean[-1]:.3g}")
    return f"{run.name}: {'; '.join(text)}."


def _course(curve):
    share, step, end = _turn(curve)
    first, last, top = curve.mean[0], int(curve.step[-1]), int(curve.mean.argmax())
    now = f"{curve.mean[-1]:.2f} at step {last:,}"
    if share < 1 - NEAR:
        lowest = curve.mean.min()
        after = f", and ends at {now}" if step < last else ""
        return f"D falls from {first:.2f} to {lowest:.2f} ({share:.0%}) by step {step:,}{after}"
    if end > 1 + NEAR:
        return f"D rises, from {first:.2f} to {now}"
    if curve.mean[top] > (1 + NEAR) * first:
        peak = f"{curve.mean[top]:.2f} at step {int(curve.step[top]):,}"
        return f"D rises from {first:.2f} to {peak}, and returns to {now}"
    return f"D stays near its initial value, from {first:.2f} to {now}"
