"""Is alpha, the rate of the TAP equation, a function of the architecture?

Four regressions on structural features, each scored on architectures it has not seen, beside the
in-sample score that says nothing; and a decomposition of the variance of ln alpha into what
belongs to the architecture, to the data set and to the seed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.tap.calibration import r2

SIZES = ("depth", "width", "connectivity")


class Form(NamedTuple):
    """A form of alpha = f(architecture): scaling of the sizes, whether of ln alpha, by family."""

    scale: Callable
    logarithm: bool
    by_family: bool = False


FORMS = {
    "linear": Form(lambda sizes: sizes, False),
    "log_linear": Form(np.log1p, False),
    "power_law": Form(np.log, True),
    "power_law_by_family": Form(np.log, True, by_family=True),
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


def regress(table: pd.DataFrame) -> list[dict]:
    """Every form of alpha = f(architecture), in sample and leaving out one architecture at a time.

    Args:
      table: from `by_architecture`.

    Returns:
      One row a form: n, R2 of ln alpha in sample and held out (`r2_loao`), and coefficients.
      The linear forms are fitted to alpha itself, so even in sample theirs may be negative.
    """
    observed = table["ln_alpha"].to_numpy()
    everything = np.arange(len(table))
    rows = []
    for name, form in FORMS.items():
        if form.by_family and table["family"].nunique() < 2:
            continue
        inputs = _inputs(form, table)
        x = inputs.to_numpy()
        coefficients, in_sample = _fit(form, x, observed, everything)
        held_out = [_fit(form, x, observed, everything != i)[1][i] for i in everything]
        rows.append(
            {
                "form": name,
                "n": len(x),
                "r2_in_sample": r2(observed, in_sample),
                "r2_loao": r2(observed, np.array(held_out)),
                "coefficients": dict(zip(inputs.columns, coefficients.tolist(), strict=True)),
            }
        )
    return rows


def _inputs(form, table):
    inputs = form.scale(table[list(SIZES)].astype(float))
    inputs.insert(0, "intercept", 1.0)
    if form.by_family:
        for family in sorted(set(table["family"]))[1:]:
            inputs[f"family_{family}"] = (table["family"] == family).astype(float)
    return inputs


def _fit(form, x, ln_alpha, train):
    """Least-squares coefficients from the rows `train`, and ln alpha predicted for every row."""
    target = ln_alpha if form.logarithm else np.exp(ln_alpha)
    coefficients = np.linalg.lstsq(x[train], target[train], rcond=None)[0]
    made = x @ coefficients
    # Where a linear form predicts a negative rate: half the least that it has seen.
    least = np.exp(ln_alpha[train]).min() / 2
    return coefficients, made if form.logarithm else np.log(np.maximum(made, least))


def variance_shares(fits: pd.DataFrame) -> dict[str, float] | None:
    """Nested shares of the variance of ln alpha over identified curves.

    Not corrected for the number of seeds: with few of them part of their share counts as the
    architecture's.

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
