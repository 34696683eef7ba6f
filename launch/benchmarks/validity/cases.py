"""Row of the validity table: how often an analysis makes a claim, and how often it should."""

from collections.abc import Sequence

from scipy.stats import binomtest

CONFIDENCE = 0.95


def case(
    name: str, kind: str, claims: Sequence[bool], *, most: float = None, least: float = None
) -> dict:
    """Summarise the claims made on independent draws of one kind of data.

    Args:
      name: name of the data, for example "AR(1) .9, 5 seeds".
      kind: "null" if every claim is false, "planted" if every claim is right, "coverage" if
        a claim is an interval that contains the true value.
      claims: one value per draw; True if the analysis made the claim.
      most: largest acceptable rate in [0, 1], for nulls; None for other kinds.
      least: smallest acceptable rate in [0, 1], for planted effects and coverage; None for nulls.

    Returns:
      A row with `case`, `kind`, `n`, `rate` in [0, 1], its 95 % interval `low` to `high` (Wilson),
      the `goal` in words and `met`, whether the measured rate reaches the goal.
    """
    n, hits = len(claims), int(sum(map(bool, claims)))
    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    rate = hits / n
    goal = f"<= {most:g}" if most is not None else f">= {least:g}"
    met = rate <= most if most is not None else rate >= least
    return {
        "case": name,
        "kind": kind,
        "n": n,
        "rate": rate,
        "low": interval.low,
        "high": interval.high,
        "goal": goal,
        "met": bool(met),
    }
