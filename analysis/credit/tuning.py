"""Best run of each method in a search for its settings, and what smaller searches would find."""

import numpy as np
from scipy.special import comb

BUDGETS = (1, 2, 4, 8, 16, 32)  # numbers of runs for which the expected best score is listed


def expected_best(scores_N) -> np.ndarray:
    """Compute the expected best score of a search that makes n of N runs, for every n.

    The n runs are drawn from the N without replacement, so that the mean is over all subsets of n
    runs (Tang et al. 2020, https://aclanthology.org/2020.acl-main.246, for the search of Dodge et
    al. 2019, https://arxiv.org/abs/1909.03004).

    Args:
      scores_N: score of every run, [N], higher is better. A run without a finite score counts as
        the worst.

    Returns:
      [N], the expected best of 1, ..., N runs. It never falls, and ends with the best score.

    Raises:
      ValueError: no score is finite.

    Examples:
      >>> expected_best(np.array([0.1, 0.3, 0.2])).round(3).tolist()
      [0.2, 0.267, 0.3]
    """
    scores_N = np.asarray(scores_N, float)
    known_N = np.isfinite(scores_N)
    if not known_N.any():
        raise ValueError("no run has a finite score")
    ranked_N = np.sort(np.where(known_N, scores_N, scores_N[known_N].min()))
    N = len(ranked_N)
    below = np.arange(N)  # number of runs that are worse than the one of this rank
    return np.array([(comb(below, n - 1) / comb(N, n)) @ ranked_N for n in range(1, N + 1)])


def table(rows: list[dict]) -> list[dict]:
    """Make one row per method and setting with the best of its runs.

    Args:
      rows: rows of `quality.table`.

    Returns:
      Rows with `setting`, `method`, `runs`, the `variant` and the run of the best one, its
      `accuracy` and `gamma`, and `best_of_n`, the expected best accuracy of n runs, for every n of
      `BUDGETS` up to their number. Methods without a recorded accuracy are left out.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        if np.isfinite(row.get("accuracy", np.nan)):
            groups.setdefault((row["setting"], row["method"]), []).append(row)
    found = []
    for (setting, method), members in groups.items():
        top = max(members, key=lambda row: row["accuracy"])
        best_n = expected_best([row["accuracy"] for row in members])
        found.append(
            {"setting": setting, "method": method, "runs": len(members), "run": top["run"]}
            | {name: top[name] for name in ("variant", "accuracy", "gamma")}
            | {f"best_of_{n}": float(best_n[n - 1]) for n in BUDGETS if n <= len(members)}
        )
    return found
