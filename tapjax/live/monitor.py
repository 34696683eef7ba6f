"""Monitor of a training run, for use in any training loop; needs only NumPy.

    monitor = Monitor()
    report = monitor.update(step, loss, grad_norm, activations)   # in the loop
    monitor.save(folder)                                          # monitor_state.json

The monitor forecasts the dimensionality D(t). The intervals of its forecasts come from its own past
errors, and its skill is measured relative to a persistence forecast. It also finds jumps of D and
warns of problems. All thresholds are relative to the run itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapjax.contract import detector
from tapjax.contract.layout import write_json
from tapjax.live.arrays import as_array
from tapjax.live.dimensions import dimensions

HISTORY = ("step", "loss", "grad_norm", "d")
HORIZONS = (50, 100, 200)  # steps
LEVEL_POINTS, TREND_POINTS = 5, 80
# Share of the trend in ln t that each member of the stacked forecast follows; 0 is persistence.
MEMBERS = {"persistence": 0.0, "damped_trend": 0.5, "full_trend": 1.0}
METHODS = ("damped_trend", "stacked")
MEMORY = 50  # number of past forecasts from which weights, skill and intervals are computed
LEAST_PAST = 20
NEGLIGIBLE = 1e-3  # errors of ln D up to this size all count the same
INTERVAL = 0.9
RECENT = 20
EARLY = 100  # number of first measurements; there D collapses and turns around in healthy runs


class Prediction(NamedTuple):
    """Forecast of D at a later step.

    `low` and `high` are the limits of the 90 % interval. `skill` is 1 minus the ratio of the
    squared errors so far to those of the persistence forecast; 0 means that the forecast is no
    better than persistence. The three values are NaN until 20 past forecasts have been compared
    with measurements.
    """

    step: int
    d: float
    low: float
    high: float
    skill: float


class Warned(NamedTuple):
    """Warning with its step, its kind, the reason, and a recommendation of what to try."""

    step: int
    kind: str
    message: str
    recommendation: str


class Report(NamedTuple):
    """Result of one update: D, predictions by horizon, new warnings and new jumps."""

    step: int
    d: float
    predictions: dict[int, Prediction]
    warnings: list[Warned]
    jumps: list[detector.Jump]


RECOMMENDATIONS = {
    "not_finite": "go back to the last checkpoint; lower the learning rate or clip gradients",
    "vanishing_gradient": "fewer layers, residual connections, another initialisation, higher rate",
    "insufficient_expansion": "more width or less depth; a higher learning rate",
    "premature_saturation": "a higher learning rate or more width; stop if the loss is good enough",
    "collapse": "a lower learning rate; look at dead units and at weight decay",
    "stalled_jumps": "see whether the loss still falls; otherwise stop or restart the schedule",
}


def participation_ratio(a_NxD) -> float:
    """Compute the participation ratio (sum s)^2 / sum s^2 of one layer's singular values s.

    Args:
      a_NxD: activations [N, D] of one layer.

    Returns:
      The participation ratio. It is 0 if all activations are 0, and NaN if one is not finite.

    Raises:
      ValueError: if the activations are not a matrix.
    """
    a_NxD = as_array(a_NxD)
    if a_NxD.ndim != 2:
        raise ValueError(
            f"activations of shape {a_NxD.shape} are not [N, D]: "
            "average over space, make tokens rows"
        )
    return dimensions(a_NxD, centred=False)["participation_ratio"]


def trend_forecast(t, d, ahead, share: float) -> float:
    """Forecast D from the level of the last points and a share of the recent slope in ln t.

    Args:
      t: steps [T].
      d: measurements of D [T].
      ahead: number of steps from the last measurement to the forecast.
      share: share of the slope; 0 for persistence, 1 for the whole trend.

    Returns:
      The forecast of D at step t[-1] + ahead.
    """
    level = d[-LEVEL_POINTS:].mean()
    start = max(len(t) - TREND_POINTS, len(t) // 2)
    if share == 0 or len(t) - start < LEVEL_POINTS:
        return float(level)
    x, y = np.log1p(t[start:]), d[start:]
    x = x - x.mean()
    slope = (x @ (y - y.mean())) / (x @ x)
    return float(level + share * slope * (np.log1p(t[-1] + ahead) - np.log1p(t[-1])))


class _Series:
    """Series of numbers that grows at its end; reading it copies nothing."""

    def __init__(self, dtype):
        self._held, self._count = np.empty(64, dtype), 0

    def append(self, value):
        """Add a value at the end."""
        if self._count == len(self._held):
            self._held = np.concatenate([self._held, np.empty_like(self._held)])
        if self._held.dtype.kind == "i" and value != int(value):
            self._held = self._held.astype(float)  # a step may be a fraction, such as an epoch
        self._held[self._count] = value
        self._count += 1

    @property
    def values(self) -> np.ndarray:
        """All values so far, [T]."""
        return self._held[: self._count]


class Monitor:
    """Monitor of one run; the docstring of the module shows how to use it.

    Attributes:
      step, loss, grad_norm, d: arrays [T] of the measurements so far.
      warnings, jumps: lists of those found so far.
      forecasts: list of the forecasts made at the middle horizon.
    """

    def __init__(self, horizons=HORIZONS, method: str = "damped_trend"):
        """Create a monitor without measurements.

        Args:
          horizons: numbers of steps ahead at which D is forecast.
          method: `damped_trend`, or `stacked` for a weighted mean of persistence and two trends.
            The weight of each member depends on its recent errors.

        Raises:
          ValueError: if the method is unknown.
        """
        if method not in METHODS:
            raise ValueError(f"method={method!r} is not one of {', '.join(METHODS)}")
        self.horizons, self.method = tuple(horizons), method
        self._history = {name: _Series(int if name == "step" else float) for name in HISTORY}
        self.warnings: list[Warned] = []
        self.jumps: list[detector.Jump] = []
        self.forecasts: list[Prediction] = []  # at the middle horizon, for the figure
        self._middle = self.horizons[len(self.horizons) // 2] if self.horizons else None
        self._search_from = np.zeros(1, int)
        self._last_held: dict[str, int] = {}  # kind of warning -> number of measurements then
        self._open = {h: [] for h in self.horizons}  # forecasts whose step has not come yet
        # Horizon -> member -> errors of ln D.
        self._errors = {h: {name: [] for name in (*MEMBERS, "made")} for h in self.horizons}

    def update(self, step: int, loss: float | None, grad_norm: float | None, measured) -> Report:
        """Add one measurement and report what follows from it.

        Args:
          step: training step, larger than that of the last measurement.
          loss: loss of a batch or of the probe; None if it is not known. The warnings that need it
            are then never given.
          grad_norm: global norm of the gradient; None if it is not known.
          measured: D itself, or activations [N, D] of one layer, or a mapping or sequence of
            activations of several layers. Arrays may be from NumPy, JAX or PyTorch.

        Returns:
          A Report.

        Raises:
          ValueError: if the step is not larger than the last one, or if activations are not a
            matrix.
        """
        step = as_array(step).item()
        if len(self.step) and step <= self.step[-1]:
            raise ValueError(f"step {step} does not come after {self.step[-1]}")
        d = _dimension(measured)
        known = [d] + [float(as_array(value)) for value in (loss, grad_norm) if value is not None]
        if not np.isfinite(known).all():
            found = self._warn(step, {"not_finite": "loss, gradient or D is not finite"})
            return Report(step, d, {}, found, [])
        for series, value in zip(self._history.values(), (step, loss, grad_norm, d), strict=True):
            series.append(np.nan if value is None else value)
        self._settle(step, d)
        predictions = {h: self._predict(h) for h in self.horizons} if d > 0 else {}
        if self._middle in predictions:
            self.forecasts.append(predictions[self._middle])
        new_jumps = self._new_jumps()
        found = self._warn(
            step, conditions(self.step, self.loss, self.grad_norm, self.d, self.jumps)
        )
        return Report(step, d, predictions, found, new_jumps)

    @property
    def step(self) -> np.ndarray:
        """Training steps of the measurements, [T]."""
        return self._history["step"].values

    @property
    def loss(self) -> np.ndarray:
        """Losses, [T]; not-a-number where they are not known."""
        return self._history["loss"].values

    @property
    def grad_norm(self) -> np.ndarray:
        """Global norms of the gradient, [T]; not-a-number where they are not known."""
        return self._history["grad_norm"].values

    @property
    def d(self) -> np.ndarray:
        """Dimensionalities D, [T]."""
        return self._history["d"].values

    def _predict(self, horizon):
        made = {
            name: max(trend_forecast(self.step, self.d, horizon, share), 1e-12)
            for name, share in MEMBERS.items()
        }
        value = made["damped_trend"]
        if self.method == "stacked":
            value = float(np.dot(self._weights(horizon), list(made.values())))
        target = self.step[-1].item() + horizon
        self._open[horizon].append((target, made | {"made": value}))
        errors = np.array(self._errors[horizon]["made"])
        skill = half = np.nan
        if len(errors) >= LEAST_PAST:
            half = np.quantile(np.abs(errors), INTERVAL)
            skill = 1 - _power(errors) / _power(self._errors[horizon]["persistence"])
        low, high = value * np.exp(-half), value * np.exp(half)
        return Prediction(target, value, float(low), float(high), float(skill))

    def _weights(self, horizon):
        past = [self._errors[horizon][name] for name in MEMBERS]
        if len(past[0]) < LEAST_PAST:
            return np.full(len(past), 1 / len(past))
        inverse = 1 / np.array([_power(errors) for errors in past])
        return inverse / inverse.sum()

    def _settle(self, step, d):
        """Compare the forecasts for steps up to this one with the measurements."""
        for horizon, waiting in self._open.items():
            while waiting and waiting[0][0] <= step:
                target, made = waiting.pop(0)
                actual = np.interp(target, self.step[-2:], self.d[-2:]) if target < step else d
                for name, value in made.items():
                    errors = self._errors[horizon][name]
                    errors.append(float(np.log(value / max(actual, 1e-12))))
                    del errors[:-MEMORY]

    def _new_jumps(self):
        """Search for jumps once per `detector.WINDOW` measurements and return the new ones.

        The search resumes where the last one ended, so that a search at intervals misses no jump.
        """
        if len(self.d) % detector.WINDOW:
            return []
        (new,), self._search_from = detector.search([self.d], self.step, self._search_from)
        self.jumps += new
        return new

    def _warn(self, step, found):
        """Warn of conditions that have not held for more than `RECENT` measurements."""
        now = len(self.d)
        new = [
            Warned(step, kind, message, RECOMMENDATIONS[kind])
            for kind, message in found.items()
            if kind not in self._last_held or now - self._last_held[kind] > RECENT
        ]
        self._last_held |= dict.fromkeys(found, now)
        self.warnings += new
        return new

    def state(self) -> dict:
        """Return the measurements, warnings, recommendations and jumps so far as JSON data."""
        history = {
            name: [float(v) if np.isfinite(v) else None for v in series.values]
            for name, series in self._history.items()
        }
        return {
            "method": self.method,
            "horizons": list(self.horizons),
            "history": history,
            "warnings": [w._asdict() for w in self.warnings],
            "recommendations": sorted({w.recommendation for w in self.warnings}),
            "jumps": [j._asdict() for j in self.jumps],
            "forecasts": {
                "horizon": self._middle,
                "step": [p.step for p in self.forecasts],
                "d": [p.d for p in self.forecasts],
                "low": [_or_none(p.low) for p in self.forecasts],
                "high": [_or_none(p.high) for p in self.forecasts],
            },
        }

    def save(self, folder) -> Path:
        """Write FOLDER/monitor_state.json.

        Args:
          folder: folder to write in; it is created if it does not exist.

        Returns:
          The path of the file.
        """
        path = Path(folder) / "monitor_state.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.state())
        return path


def _or_none(value: float) -> float | None:
    """Return a finite number, or None, which JSON can hold."""
    return value if np.isfinite(value) else None


def _power(errors) -> float:
    """Return the sum of squared errors, with errors below `NEGLIGIBLE` raised to that value."""
    return float(np.square(np.maximum(np.abs(errors), NEGLIGIBLE)).sum())


def _dimension(measured) -> float:
    if isinstance(measured, Mapping):
        measured = list(measured.values())
    if isinstance(measured, (list, tuple)):
        return float(np.mean([participation_ratio(a) for a in measured]))
    array = as_array(measured)
    return float(array) if array.ndim == 0 else participation_ratio(array)


def conditions(step, loss, grad_norm, d, found_jumps) -> dict[str, str]:
    """Find the problems that a run has at its last measurement.

    Args:
      step: training steps of the measurements so far [T].
      loss: losses [T]; not-a-number if they are not known.
      grad_norm: global norms of the gradient [T]; not-a-number if they are not known.
      d: dimensionalities D [T].
      found_jumps: jumps found so far.

    Returns:
      Kind of warning -> message. It is empty for runs of fewer than 120 measurements, because in
      the first 100 of them D collapses and then turns around even in healthy runs.
    """
    if len(d) < EARLY + RECENT:
        return {}
    found = {}
    loss_now, loss_first = np.median(loss[-RECENT:]), np.median(loss[:LEVEL_POINTS])
    struggling = loss_now > 0.5 * loss_first
    level = np.convolve(d, np.full(10, 0.1), "valid")
    now, trough = level[-1], level[:EARLY].min()
    gradient = np.median(grad_norm[-RECENT:]) / np.median(grad_norm[:RECENT])
    if struggling and gradient < 0.01:
        found["vanishing_gradient"] = f"the gradient fell to {gradient:.1%} of its first norm"
    if loss_now > 0.7 * loss_first and now < 1.1 * trough:
        found["insufficient_expansion"] = (
            f"D is {now:.2f}, not 1.1 times its trough {trough:.2f}, and the loss has hardly fallen"
        )
    change = _per_doubling(step[-EARLY:], d[-EARLY:]) / now
    progress = _per_doubling(step[-EARLY:], loss[-EARLY:]) / max(loss_now, NEGLIGIBLE)
    if struggling and abs(change) < 0.01 and progress > -0.01:
        found["premature_saturation"] = "D and loss stand still while the loss is high"
    peak = level[EARLY:].max()
    if now < 0.6 * peak:
        found["collapse"] = f"D fell from {peak:.2f} to {now:.2f} after the initial collapse"
    gaps = np.diff([jump.step for jump in found_jumps])
    if len(gaps) >= 2 and step[-1] - found_jumps[-1].step > 5 * np.median(gaps) and struggling:
        found["stalled_jumps"] = f"no jump of D since step {found_jumps[-1].step}"
    return found


def _per_doubling(step, series):
    """Return the change of a series per doubling of the steps, from its slope in ln t."""
    x = np.log1p(step) - np.log1p(step).mean()
    return float(x @ (series - series.mean()) / (x @ x) * np.log(2))
