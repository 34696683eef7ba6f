"""Dependence of alpha, the rate of the TAP equation, on the architecture.

The module contains four regressions of alpha on structural features. Each is scored on
architectures that were left out of its fit. The in-sample score is reported, too, but it is no
evidence. The module also decomposes the variance of ln alpha into shares of the architecture, of
the data set and of the seed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.tap.calibration import r2

SIZES = ("depth", "width", "connectivity")


class Form(NamedTuple):
    """Form of the regression alpha = f(architecture).

    `scale` transforms the sizes, `logarithm` says whether ln alpha is the target instead of alpha,
    and `by_family` says whether each family has its own intercept.
    """

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
    """Compute alpha of each architecture as the geometric mean over its identified curves.

    Args:
      fits: table with one row per run and seed, with the columns `architecture`, `family`, the
        structural features, `alpha` and `identified`.

    Returns:
      Table with one row per architecture that has at least one identified curve.
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
    """Fit every form of alpha = f(architecture), in sample and with one architecture left out.

    Args:
      table: table from `by_architecture`.

    Returns:
      One row per form: number of architectures `n`, R2 of ln alpha in sample (`r2_in_sample`) and
      on left-out architectures (`r2_loao`), and `coefficients`. The linear forms are fitted to
      alpha itself, so their R2 of ln alpha may be negative even in sample.
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
    """Fit least-squares coefficients on the rows `train` and predict ln alpha for every row."""
    target = ln_alpha if form.logarithm else np.exp(ln_alpha)
    coefficients = np.linalg.lstsq(x[train], target[train], rcond=None)[0]
    made = x @ coefficients
    # A linear form can predict a negative rate. Predictions are limited to at least half the
    # smallest alpha in the training rows.
    least = np.exp(ln_alpha[train]).min() / 2
    return coefficients, made if form.logarithm else np.log(np.maximum(made, least))


def variance_shares(fits: pd.DataFrame) -> dict[str, float] | None:
    """Decompose the variance of ln alpha over identified curves into nested shares.

    The shares are not corrected for the number of seeds. With few seeds, a part of the variance
    between seeds is counted as variance between architectures.

    Args:
      fits: table as for `by_architecture`.

    Returns:
      Shares that sum to 1: `architecture`; `data`, between data sets within an architecture; and
      `seed`, between seeds within an architecture and data set. None if no architecture has two
      identified curves, because the shares cannot then be separated.
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
