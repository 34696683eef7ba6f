import json

import numpy as np
import pytest

from tapjax.contract import detector
from tapjax.live.monitor import HORIZONS, Monitor, participation_ratio, trend_forecast
from tests.analysis.made_runs import collapse_and_recovery

T = np.arange(0, 2001, 5)


def healthy(seed=0):
    """Loss, gradient norm and D of a run that goes well."""
    rng = np.random.default_rng(seed)
    loss = 2.3 * np.exp(-T / 400) + 0.1 + 0.02 * rng.standard_normal(len(T))
    norm = 1 + 0.2 * rng.standard_normal(len(T))
    return loss, norm, collapse_and_recovery(T) * np.exp(0.01 * rng.standard_normal(len(T)))


def watch(loss, norm, d, **options):
    monitor = Monitor(**options)
    reports = [monitor.update(*row) for row in zip(T.tolist(), loss, norm, d, strict=True)]
    return monitor, reports


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_run_is_left_alone(seed):
    monitor, _ = watch(*healthy(seed))
    assert monitor.warnings == [] and monitor.jumps == []


def test_each_trouble_is_named():
    late = T > 1200
    loss, norm, d = healthy()
    stuck = np.full(len(T), 2.3)
    troubled = {
        "collapse": (loss, norm, np.where(late, 0.3 * d, d)),
        "vanishing_gradient": (stuck, np.where(late, 1e-4, norm), d),
        "insufficient_expansion": (stuck, norm, np.minimum(d, 1.02 * d.min())),
        "premature_saturation": (stuck, norm, np.where(T > 200, d[40], d)),
    }
    for kind, series in troubled.items():
        monitor, _ = watch(*series)
        assert kind in {warning.kind for warning in monitor.warnings}, kind
        assert all(warning.recommendation for warning in monitor.warnings)


def test_what_is_not_finite_is_reported_once_and_left_out():
    loss, norm, d = healthy()
    loss[300:] = np.nan
    monitor, _ = watch(loss, norm, d)
    assert [(w.kind, w.step) for w in monitor.warnings] == [("not_finite", 1500)]
    assert len(monitor.d) == 300 and np.isfinite(monitor.state()["history"]["loss"]).all()


def test_a_gap_does_not_repeat_the_warnings_of_conditions_that_last():
    loss, norm, d = healthy()
    d = np.where(T > 1200, 0.3 * d, d)
    whole, _ = watch(loss, norm, d)
    loss[300] = np.nan
    gap, _ = watch(loss, norm, d)
    kinds = [warning.kind for warning in whole.warnings]
    assert "collapse" in kinds and len(gap.warnings) == len(kinds) + 1
    assert [w.kind for w in gap.warnings if w.kind != "not_finite"] == kinds


def test_a_condition_that_comes_and_goes_is_warned_of_once():
    loss, norm, d = healthy()
    loss = np.where(np.arange(len(T)) % 7 == 3, np.nan, loss)
    monitor, _ = watch(loss, norm, d)
    assert [(w.kind, w.step) for w in monitor.warnings] == [("not_finite", 15)]


def test_tensors_of_pytorch_and_layers_of_any_kind_are_taken():
    class Tensor:  # what torch.Tensor shows of itself while it requires a gradient
        def __init__(self, values):
            self.values = values

        def __array__(self, *_, **__):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")

        def detach(self):
            return self

        def cpu(self):
            return self.values

    a = np.random.default_rng(0).standard_normal((64, 8))
    expected = participation_ratio(a)
    assert Monitor().update(0, 1.0, 1.0, Tensor(a)).d == pytest.approx(expected)
    assert Monitor().update(0, 1.0, 1.0, {"a": a, "b": Tensor(a)}).d == pytest.approx(expected)
    with pytest.raises(ValueError, match="make tokens rows"):
        Monitor().update(0, 1.0, 1.0, a.reshape(4, 16, 8))


def test_activations_that_are_not_finite_are_reported():
    monitor = Monitor()
    report = monitor.update(0, float("nan"), 1.0, [np.full((32, 8), np.nan)])
    assert [warning.kind for warning in report.warnings] == ["not_finite"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_jumps_of_a_long_run_are_those_found_afterwards(seed):
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(10, 20, 12), 100)
    d = level + 0.3 * rng.standard_normal(len(level))
    t = 5 * np.arange(len(d))
    monitor = Monitor()
    for step, value in zip(t.tolist(), d, strict=True):
        monitor.update(step, 1.0, 1.0, value)
    assert len(monitor.jumps) >= 6
    for one, two in zip(monitor.jumps, detector.detect(d, t), strict=False):
        assert one.index == two.index and one == pytest.approx(two)


def test_a_jump_is_reported():
    loss, norm, d = healthy()
    monitor, reports = watch(loss, norm, np.where(T >= 1000, 1.5 * d, d))
    (jump,) = monitor.jumps
    assert abs(jump.step - 1000) <= 10
    assert [j for report in reports for j in report.jumps] == [jump]


@pytest.mark.parametrize("method", ["damped_trend", "stacked"])
def test_a_trend_in_log_time_is_forecast_better_than_by_persistence(method):
    rng = np.random.default_rng(1)
    d = (5 + np.log1p(T)) * np.exp(0.003 * rng.standard_normal(len(T)))
    loss, norm, _ = healthy()
    _, reports = watch(loss, norm, d, method=method)
    for horizon in HORIZONS:
        made = [r.predictions[horizon] for r in reports]
        assert made[-1].skill > 0.2
        actual = np.interp([p.step for p in made], T, d)
        known = [i for i, p in enumerate(made) if np.isfinite(p.low) and p.step <= T[-1]]
        covered = np.mean([made[i].low <= actual[i] <= made[i].high for i in known])
        assert covered > 0.8


def test_noise_is_not_forecast():
    rng = np.random.default_rng(2)
    loss, norm, _ = healthy()
    _, reports = watch(loss, norm, 5 + 0.1 * rng.standard_normal(len(T)))
    assert all(reports[-1].predictions[h].skill < 0.05 for h in HORIZONS)


def test_the_trend_is_that_of_log_time():
    t = np.arange(100.0)
    assert trend_forecast(t, np.log1p(t), 50, 0.0) == pytest.approx(np.log1p(t[-5:]).mean())
    moved = trend_forecast(t, np.log1p(t), 50, 1.0) - np.log1p(t[-5:]).mean()
    assert moved == pytest.approx(np.log(150 / 100), rel=0.02)


def test_activations_are_measured():
    identity = np.eye(7)
    assert participation_ratio(identity) == pytest.approx(7)
    report = Monitor().update(0, 1.0, 1.0, {"a": identity, "b": np.ones((7, 3))})
    assert report.d == pytest.approx(4)
    assert Monitor().update(0, 1.0, 1.0, identity).d == pytest.approx(7)
    assert Monitor().update(0, 1.0, 1.0, 3.5).d == 3.5
    assert participation_ratio(np.zeros((3, 3))) == 0


def test_state_is_json_and_steps_go_up(tmp_path):
    monitor, _ = watch(*healthy())
    state = json.loads(monitor.save(tmp_path).read_text())
    assert state["history"]["step"] == T.tolist() and state["warnings"] == []
    with pytest.raises(ValueError, match="step 5 does not come after 2000"):
        monitor.update(5, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="method='best'"):
        Monitor(method="best")


def test_steps_may_be_fractions_or_arrays_of_one_number():
    monitor = Monitor()
    for step in (0.25, 0.5, np.array([0.75])):
        monitor.update(step, 1.0, 1.0, 5.0)
    assert monitor.step.tolist() == [0.25, 0.5, 0.75]
    with pytest.raises(ValueError, match="does not come after"):
        monitor.update(0.75, 1.0, 1.0, 5.0)
    whole = Monitor()
    report = whole.update(5, 1.0, 1.0, 5.0)
    assert whole.step.dtype.kind == "i" and isinstance(report.predictions[50].step, int)
