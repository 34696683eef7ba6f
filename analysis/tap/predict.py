"""Prediction of D(t) for a network before it is trained, from networks that were trained.

A curve is ln D(t) on a log-time grid. If D at initialisation is known, the curve is relative to ln
D at initialisation, which takes one forward pass and no training. The leading principal components
of the curves over the calibrated runs are regressed on features of the architecture. Alternatively,
the parameters of the TAP equation are regressed on these features. Everything, including the
components, is fitted without the architecture that is predicted. A calibration is a table of
numbers. It is saved as JSON and fitted again in less than a second when it is used.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.runs.reader import Run, RunError
from analysis.statistics.corrections import LEAST_GROUPS, too_few
from analysis.tap.curve_models import MODELS, Axis, fit_curve

ARRAYS = ("step_G", "log_d_SxG", "gradient_G", "tap_P")  # fields of an Example that are arrays
GRID_POINTS = 46
Z_90 = 1.644854  # half-width of a 90 % interval in standard deviations
COMPONENTS = 4
LEAST_ARCHITECTURES = 5  # minimum number for a calibration
FEATURES = ("depth", "width", "num_params", "connectivity", "min_width", "max_width")
MEMBERS = ("gp", "ridge", "knn", "trees")  # regressors that the ensemble averages
PREDICTORS = (*MEMBERS, "ensemble", "tap")
TAP = MODELS["tap_compression"]


class Example(NamedTuple):
    """One calibrated architecture on one data set.

    `step_G` is the log-time grid, and `log_d_SxG` holds ln D of each seed on this grid.
    `gradient_G` is the integral of the gradient norm up to each point of the grid, mean over seeds.
    `tap_P` holds the parameters (as logarithms) of TAP with transient compression, fitted to the
    mean of D over seeds.
    """

    architecture: str
    data: str
    structure: dict
    step_G: np.ndarray
    log_d_SxG: np.ndarray
    gradient_G: np.ndarray
    tap_P: np.ndarray

    @property
    def mean_G(self) -> np.ndarray:
        """Return the logarithm of the mean of D over seeds, [G]."""
        return np.log(np.exp(self.log_d_SxG).mean(0))


class Forecast(NamedTuple):
    """Predicted curve: ln D [G] and its standard deviation [G].

    The standard deviation is not-a-number if the predictor gives no uncertainty bands.
    """

    log_d_G: np.ndarray
    sd_G: np.ndarray


def log_grid(last_step: int) -> np.ndarray:
    """Return step 0 and up to 45 further steps that are evenly spaced in ln(1 + t).

    Args:
      last_step: last step of the grid.

    Returns:
      Increasing integers, [G].
    """
    return np.unique(np.round(np.geomspace(1, last_step + 1, GRID_POINTS) - 1).astype(int))


def example(run: Run, metric: str | None = None) -> Example:
    """Extract from a run the data that a calibration stores.

    Args:
      run: open run of an architecture whose structure is recorded.
      metric: name of the dimensionality metric; None uses the metric that the run names.

    Returns:
      The Example.

    Raises:
      RunError: the structure of the architecture or D at step 0 is not recorded, or D is not
        positive and finite.
    """
    structure = run.structure(FEATURES)
    t, d_SxT = run.steps("probe"), run.dimension(metric)
    if t[0] > 0:
        raise RunError(
            f"{run.path}: D at initialisation is missing, the first measurement is at step {t[0]}"
        )
    if not (np.isfinite(d_SxT).all() and d_SxT.min() > 0):
        raise RunError(f"{run.path}: D has values that are zero or not finite")
    grid = log_grid(int(t[-1]))
    # Interpolate over ln(1 + t), because early in training D changes with the logarithm of t.
    log_d_SxG = np.stack([np.interp(np.log1p(grid), np.log1p(t), np.log(d)) for d in d_SxT])
    gradient_G = np.interp(grid, t, run.gradient_integral().mean(0))
    tap_P = fit_curve(TAP, _axis(grid, gradient_G), np.exp(log_d_SxG).mean(0)).theta
    names = run.model["architecture"], run.model["data"], structure
    return Example(*names, grid, log_d_SxG, gradient_G, tap_P)


def _axis(grid, gradient_G):
    return Axis(grid.astype(float), gradient_G - gradient_G[0], float(grid[-1]))


def to_table(examples: Sequence[Example]) -> list[dict]:
    """Convert a calibration to JSON data."""
    return [e._asdict() | {name: getattr(e, name).tolist() for name in ARRAYS} for e in examples]


def from_table(rows: Sequence[dict]) -> list[Example]:
    """Restore a calibration from the JSON data that `to_table` made."""
    return [Example(**row | {name: np.asarray(row[name]) for name in ARRAYS}) for row in rows]


def check_examples(examples: Sequence[Example]) -> None:
    """Check that predictors can be fitted to a calibration.

    Args:
      examples: examples that were trained and measured in the same way.

    Raises:
      RunError: there are fewer than five architectures, the runs have different lengths, or a
        combination of architecture and data set occurs twice.
    """
    few = too_few(len({e.architecture for e in examples}), LEAST_ARCHITECTURES, "architectures")
    if few:
        raise RunError(f"{few} for a calibration and >= {LEAST_GROUPS} for scores")
    lengths = sorted({int(e.step_G[-1]) for e in examples})
    if len(lengths) > 1:
        raise RunError(
            f"the runs have different lengths, such as {lengths[0]} and {lengths[-1]} steps: give "
            "runs of one length"
        )
    cells = [(e.architecture, e.data) for e in examples]
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise RunError(f"{twice[0][0]} on {twice[0][1]} is among the runs twice: leave one out")


def features(structure: dict, data: str, vocabulary: dict, log_d0: float | None) -> np.ndarray:
    """Compute the inputs of a prediction: sizes, family, data set and, if given, D at step 0.

    Args:
      structure: features of the architecture by name.
      data: name of the data set.
      vocabulary: names of the `families` and `datasets` in the calibration. Each gives one
        indicator variable.
      log_d0: ln D at initialisation; None leaves it out.

    Returns:
      Feature vector, [F].
    """
    sizes = [np.log(structure[name]) for name in FEATURES]
    shape = np.log(structure["width"] / structure["depth"])
    families = [float(structure["family"] == f) for f in vocabulary["families"]]
    datasets = [float(data == d) for d in vocabulary["datasets"]]
    return np.array([*sizes, shape, *families, *datasets, *([] if log_d0 is None else [log_d0])])


def fit(examples: Sequence[Example], predictor: str, use_init: bool):
    """Fit a predictor of curves from features of the architecture.

    Args:
      examples: calibration to fit.
      predictor: name of the predictor, one of `PREDICTORS`.
      use_init: whether D at initialisation is known, so that curves are predicted relative to it.

    Returns:
      Function `forecast(structure, data, log_d0)` that returns a Forecast. It ignores `log_d0`
      without `use_init`.
    """
    vocabulary = {
        "families": sorted({e.structure["family"] for e in examples}),
        "datasets": sorted({e.data for e in examples}),
    }

    def inputs(structure, data, log_d0):
        return features(structure, data, vocabulary, log_d0 if use_init else None)

    x = np.stack([inputs(e.structure, e.data, e.mean_G[0]) for e in examples])
    centre, spread = x.mean(0), x.std(0)
    spread[spread == 0] = 1.0
    make = _tap_route if predictor == "tap" else _component_route
    predict = make(examples, predictor, use_init, (x - centre) / spread)

    def forecast(structure, data, log_d0=None):
        at = ((inputs(structure, data, log_d0) - centre) / spread)[None]
        return predict(at, structure, data, log_d0)

    return forecast


def _component_route(examples, predictor, use_init, x):
    """Predict principal components of the curves, relative to D at initialisation if known."""
    y = np.stack([e.mean_G - use_init * e.mean_G[0] for e in examples])
    mean_G = y.mean(0)
    _, _, basis = np.linalg.svd(y - mean_G, full_matrices=False)
    basis = basis[:COMPONENTS]
    scores = (y - mean_G) @ basis.T
    left_over_G = (y - mean_G - scores @ basis).std(0)
    members = MEMBERS if predictor == "ensemble" else (predictor,)
    models = [_regress(name, x, scores) for name in members]

    def predict(at, structure, data, log_d0):
        predicted = [model(at) for model in models]
        curve_G = mean_G + np.mean([score for score, _ in predicted], 0) @ basis
        # Only the Gaussian process, the first member of the ensemble, gives a standard deviation.
        variance = np.square(predicted[0][1]) @ np.square(basis) + np.square(left_over_G)
        return Forecast(curve_G + (log_d0 if use_init else 0.0), np.sqrt(variance))

    return predict


def _tap_route(examples, _, use_init, x):
    """Predict the TAP parameters; take the gradient norm from similar calibrated networks."""
    low, high = np.quantile([e.tap_P for e in examples], (0.05, 0.95), axis=0)
    # Some parameters are not identified and may take extreme values.
    theta = np.stack([np.clip(e.tap_P, low, high) for e in examples])
    model = _regress("gp", x, theta)
    step_G = examples[0].step_G

    def predict(at, structure, data, log_d0):
        theta_P = np.clip(model(at)[0], low, high)
        theta_P[0] = log_d0 if use_init else theta_P[0]
        gradient_G = np.mean([e.gradient_G for e in alike(structure, data, examples)], 0)
        curve_G = TAP.log_curve(theta_P, _axis(step_G, gradient_G))
        return Forecast(curve_G, np.full(len(step_G), np.nan))

    return predict


def _regress(name, x, scores):
    """Fit a regression and return a function x -> (scores [K], their standard deviations [K])."""
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.neighbors import KNeighborsRegressor

    if name == "gp":
        return _gaussian_processes(x, scores)
    model = {
        "ridge": RidgeCV(np.logspace(-3, 3, 13)),
        "knn": KNeighborsRegressor(min(3, len(x)), weights="distance"),
        "trees": ExtraTreesRegressor(300, random_state=0),
    }[name].fit(x, scores)
    unknown = np.full(scores.shape[1], np.nan)
    return lambda at: (model.predict(at)[0], unknown)


def _gaussian_processes(x, scores):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    kernel = (
        ConstantKernel(1.0, (1e-3, 1e3)) * RBF(3.0, (0.3, 30.0))
        + ConstantKernel(0.1, (1e-4, 1e2)) * DotProduct(1.0, (1e-2, 1e2))
        + WhiteKernel(0.1, (1e-4, 1e1))
    )
    models = []
    for column in scores.T:
        model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        with warnings.catch_warnings():
            # A hyperparameter at its bound is valid: it means that this part of the kernel is not
            # needed.
            warnings.simplefilter("ignore", ConvergenceWarning)
            models.append(model.fit(x, column))

    def predict(at):
        pairs = [model.predict(at, return_std=True) for model in models]
        return tuple(np.array([part[0] for part in parts]) for parts in zip(*pairs, strict=True))

    return predict


def alike(structure, data, examples):
    """Return the examples of the same family and data set, as far as there are any."""
    family = [e for e in examples if e.structure["family"] == structure["family"]]
    return [e for e in family or examples if e.data == data] or list(family or examples)
