"""Is alpha, the rate of the TAP equation, a function of the architecture?

Four regressions on structural features, each scored on architectures it has not seen, beside the
in-sample score that says nothing; and a decomposition of the variance of ln alpha into what
belongs to the architecture, to the data set and to the seed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.tap import r2

SIZES = ("depth", "width", "connectivity")


class Form(NamedTuple):
    """A form of alpha = f(architecture): inputs of a least-squares fit, and whether of ln alpha."""

    inputs: Callable
    logarithm: bool


def _sizes(table):
    return table[list(SIZES)].to_numpy(float)


FORMS = {
    "linear": Form(_sizes, False),
    "log_linear": Form(lambda table: np.log1p(_sizes(table)), False),
    "power_law": Form(lambda table: np.log(_sizes(table)), True),
    "power_law_by_family": Form(lambda table: np.log(_sizes(table)), True),
}


def by_architecture(fits: pd.DataFrame) -> pd.DataFrame:
    """Alpha of each architecture: the geometric mean over its identified curves.

    Args:
      fits: one row a run and seed, with `architecture`, `family`, the structural features,
        `alpha` and `identified`.

    Returns:
      One row an architecture with at least one identified curve.
    """
    kept = fits[fits["identified"] & (fits["alpha"] > 0)]
    kept = kept.assign(ln_alpha=np.log(kept["alpha"]))
    grouped = kept.groupby("architecture", sort=False)
    table = grouped[["family", *SIZES, "num_params"]].first()
    return table.assign(
        ln_alpha=grouped["ln_alpha"].mean(),
        curves=grouped.size(),
        alpha=lambda t: np.exp(t.ln_alpha),
    )


def _design(name, table, families):
    columns = [np.ones(len(table)), *FORMS[name].inputs(table).T]
    if name.endswith("by_family"):
        columns += [(table["family"] == f).to_numpy(float) for f in families[1:]]
    return np.stack(columns, 1)


def regress(table: pd.DataFrame) -> list[dict]:
    """Every form of alpha = f(architecture), in sample and leaving out one architecture at a time.

    Args:
      table: from `by_architecture`.

    Returns:
      One row a form: n, R2 of ln alpha in sample and held out (`r2_loao`), and coefficients.
      The linear forms are fitted to alpha itself, so even in sample theirs may be negative.
    """
    families = sorted(set(table["family"]))
    observed = table["ln_alpha"].to_numpy()
    least = np.exp(observed).min() / 2  # where a linear form predicts a negative rate
    rows = []
    for name, form in FORMS.items():
        if name.endswith("by_family") and len(families) < 2:
            continue
        x = _design(name, table, families)
        target = observed if form.logarithm else np.exp(observed)

        def predict(train, test, x=x, target=target, form=form):
            coefficients = np.linalg.lstsq(x[train], target[train], rcond=None)[0]
            made = x[test] @ coefficients
            return made if form.logarithm else np.log(np.maximum(made, least))

        everything = np.arange(len(x))
        held_out = np.array([predict(everything != i, [i])[0] for i in everything])
        coefficients = np.linalg.lstsq(x, target, rcond=None)[0]
        names = ["intercept", *SIZES, *(f"family_{f}" for f in families[1:])]
        rows.append(
            {
                "form": name,
                "n": len(x),
                "r2_in_sample": r2(observed, predict(everything, everything)),
                "r2_loao": r2(observed, held_out),
                "coefficients": dict(zip(names, coefficients.tolist(), strict=False)),
            }
        )
    return rows


def variance_shares(fits: pd.DataFrame) -> dict[str, float] | None:
    """Nested shares of the variance of ln alpha over identified curves.

    Args:
      fits: as for `by_architecture`.

    Returns:
      Shares that sum to 1: `architecture`, `data` within an architecture, `seed` within both;
      None where no architecture has two data sets or seeds to tell them apart.
    """
    kept = fits[fits["identified"] & (fits["alpha"] > 0)]
    if kept["architecture"].is_unique:
        return None
    value = np.log(kept["alpha"])
    of_architecture = value.groupby(kept["architecture"]).transform("mean")
    of_cell = value.groupby([kept["architecture"], kept["data"]]).transform("mean")
    total = np.square(value - value.mean()).sum()
    return {
        "architecture": float(np.square(of_architecture - value.mean()).sum() / total),
        "data": float(np.square(of_cell - of_architecture).sum() / total),
        "seed": float(np.square(value - of_cell).sum() / total),
    }
