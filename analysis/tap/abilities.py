"""The ability of a run that emerges: which one, when in each seed, and in no control."""

import numpy as np
from scipy.stats import quantile_test

from analysis.runs.reader import Run, RunError
from analysis.tap import precursors
from analysis.tap.emergence import capabilities
from tapjax.contract.text import did_you_mean

NO_ABILITY = ("-ln loss", "-ece", "confidence")


def abilities_of(each: Run) -> dict[str, np.ndarray]:
    """Return the scores [S, T] of the abilities of a run, at least 0.

    A score below 0 is worse than knowing nothing, as that of a regression before training.
    """
    known = {k: v for k, v in capabilities(each).items() if k not in NO_ABILITY}
    return {name: np.maximum(score, 0) for name, score in known.items()}


def find_emergence(each: Run, ability: str | None) -> tuple[str, precursors.Emergence]:
    """Find when an ability of a run emerges.

    Args:
      each: open run.
      ability: name of the ability; None for the one that rises most.

    Returns:
      (name of the ability, its Emergence).

    Raises:
      RunError: the ability is unknown, or emerges in fewer than six seeds.
    """
    known = abilities_of(each)
    if ability and ability not in known:
        raise RunError(
            f"{each.path} has no ability {ability!r}, only {', '.join(known)}"
            + did_you_mean(ability, known)
        )
    gain = {name: np.median(v.max(1) - v[:, 0]) for name, v in known.items()}
    name = ability or max(gain, key=gain.get)
    found = precursors.emergence(each.steps("probe"), known[name])
    count = int(np.isfinite(found.half).sum())
    if count < precursors.LEAST_SEEDS:
        raise RunError(
            f"{each.path}: {name} emerges in {count} of {len(each.seeds)} seeds, and "
            f"{precursors.LEAST_SEEDS} are needed"
        )
    return name, found


def check_control(controls: Run | None, each: Run, name: str) -> None:
    """Raise a RunError if a control is the run itself, or if the ability comes in it, too."""
    if controls is None:
        return
    if controls.path.resolve() == each.path.resolve():
        raise RunError(f"{each.path} is its own control: name another run with --control")
    level_SxT = abilities_of(controls).get(name)
    if level_SxT is None:
        raise RunError(f"{controls.path}: the control has no ability {name!r}")
    came = np.isfinite(precursors.emergence(controls.steps("probe"), level_SxT).half).sum()
    if came:
        raise RunError(
            f"{controls.path}: {name} emerges in {came} of {len(controls.seeds)} seeds of the "
            "control"
        )


def describe(each: Run, name: str, found: precursors.Emergence) -> dict:
    """Describe the emergence of an ability.

    Args:
      each: open run.
      name: name of the ability.
      found: its Emergence.

    Returns:
      The median `step` of half of the rise with the 90 % interval of the median, its range over
      seeds, and the steps of each seed, `of_seeds`, with 90 % intervals.
    """
    half = found.half[np.isfinite(found.half)]
    rng = np.random.default_rng(precursors.SEED)
    limits_Sx2 = precursors.half_intervals(each.steps("probe"), abilities_of(each)[name], rng)
    median = quantile_test(half, p=0.5).confidence_interval(0.9)
    return {
        "run": each.name,
        "ability": name,
        "seeds": len(each.seeds),
        "emerges": len(half),
        "step": float(np.median(half)),
        "step_interval": [median.low, median.high],
        "low": float(half.min()),
        "high": float(half.max()),
        "rise": float(np.nanmedian(found.end - found.onset)),
        "of_seeds": [
            {"seed": seed, "onset": onset, "half": at, "low": low, "high": high}
            for seed, onset, at, (low, high) in zip(
                each.seeds, found.onset, found.half, limits_Sx2, strict=True
            )
        ],
    }
