"""Agreement with pyEDM: recorded outputs, and live on random calls."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.edm import ccm, multiview, predict_nonlinear, simplex, skill, smap
from analysis.edm.coupled_maps import coupled_maps
from tests.analysis.edm import reference

pyEDM = pytest.importorskip("pyEDM", reason="pyEDM is not installed (extra `test`)")
RECORDED = Path(os.environ.get("TFDS_DATA_DIR", "/nowhere")).parent / "edm_oracles.json"
CASES = json.loads(RECORDED.read_text())["cases"] if RECORDED.is_file() else []
# Rounded, or periodic (the second y has period four): equal distances, which pyEDM takes in the
# order of its search tree. How far that may move a curve.
TIED = {("ccm_circle_negTp", "x:y"): 1e-5, ("ccm_circle_negTp", "y:x"): 1e-5}
TIED |= {("ccm_logistic_bxy0_byx0", "y:x"): 0.1}


def recorded(function):
    cases = [case for case in CASES if case["function"] == function]
    if not cases:
        why = "TFDS_DATA_DIR is not beside edm_oracles.json"
        cases = [pytest.param(None, marks=pytest.mark.skip(reason=why))]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["name"] if case else "")


def data_of(case):
    if case["data"] in pyEDM.sampleData:
        return pyEDM.sampleData[case["data"]]
    if case["data"].startswith("Time=1..60"):
        return pd.DataFrame({"x": np.tile([0.0, 1, 2, 1], 15), "y": np.arange(60.0)})
    y_by_x = 0.1 if "0.1x" in case["data"] else 0.0
    return pd.DataFrame(dict(zip("xy", coupled_maps(1000, 0.0, y_by_x), strict=True)))


def call(case, **more):
    """Arguments of ours for a call of Simplex or SMap."""
    kwargs, frame = case["kwargs"], data_of(case)
    tau, horizon = kwargs.get("tau", -1), kwargs.get("Tp", 1)
    return (
        {
            "x": frame[kwargs["columns"]].to_numpy(float),
            "y": frame[kwargs["target"]].to_numpy(float),
            "library": reference.library_rows(kwargs["lib"], kwargs["E"], tau, horizon),
            "prediction": reference.prediction_rows(kwargs["pred"]),
            "dimension": kwargs["E"],
        }
        | {"tau": tau, "horizon": horizon}
        | more
    )


def compare(forecast, case, tolerance=1e-9):
    np.testing.assert_allclose(forecast.predicted[:8], case["predictions_first8"], atol=tolerance)
    if "predictions_last3" in case:
        last = forecast.predicted[-3:]
        np.testing.assert_allclose(last, case["predictions_last3"], atol=tolerance)
    scores = skill(forecast.observed, forecast.predicted)
    for name, ours in (("rho", "rho"), ("MAE_true", "mae"), ("RMSE", "rmse"), ("n", "n")):
        assert scores[ours] == pytest.approx(case["stats"][name], abs=tolerance)


@recorded("Simplex")
def test_simplex_as_recorded(case):
    forecast = simplex(**call(case))
    compare(forecast, case)
    np.testing.assert_allclose(forecast.variance[:3], case["pred_variance_first3"], atol=1e-9)


@recorded("SMap")
def test_smap_as_recorded(case):
    arguments = call(case, theta=case["kwargs"]["theta"])
    # pyEDM leaves out the farthest library row.
    forecast = smap(**arguments, neighbours=len(arguments["library"]) - 1)
    compare(forecast, case)
    np.testing.assert_allclose(forecast.coefficients[:3], case["coefs_first3"], atol=1e-9)


@recorded("PredictNonlinear")
def test_theta_curve_as_recorded(case):
    arguments = call(case)
    rho = predict_nonlinear(
        **arguments, thetas=case["theta"], neighbours=len(arguments["library"]) - 1
    )
    np.testing.assert_allclose(rho, case["rho"], atol=5.1e-7)  # recorded with six digits


@recorded("Multiview")
def test_multiview_as_recorded(case):
    frame, kwargs = data_of(case), case["kwargs"]
    names = kwargs["columns"].split()
    prediction = reference.prediction_rows(kwargs["pred"])
    views = multiview(
        frame[names].to_numpy(float), frame[kwargs["target"]].to_numpy(float),
        reference.library_rows(kwargs["lib"], 1, -1, 1), prediction, dimension=kwargs["E"],
        ranked_on=prediction,
    )  # fmt: skip
    assert len(views.columns) == case["n_views"]
    compare(views.forecast, case)
    for columns, rho, (theirs, known) in zip(views.columns, views.rho, case["views"], strict=True):
        assert {f"{names[v]}(t-{lag})" for v, lag in columns} == set(theirs)
        assert rho == pytest.approx(known, abs=5.1e-7)


@recorded("CCM")
def test_ccm_as_recorded(case):
    kwargs, frame = case["kwargs"], data_of(case)
    columns = kwargs["columns"].split()
    x, y = frame[columns].to_numpy(float), frame[kwargs["target"]].to_numpy(float)
    embedding = {name: kwargs[key] for name, key in EMBEDDING.items()}
    drawn = reference.libraries(
        x, y, **embedding, sizes=case["LibSize"], samples=kwargs["sample"], seed=kwargs["seed"]
    )
    found = ccm(
        x, y, **embedding, sizes=case["LibSize"], neighbours=kwargs["E"] + 1, libraries=drawn
    )
    forward, backward = case["columns"][1:]
    for name, ours in ((forward, found.y_drives_x), (backward, found.x_drives_y)):
        tolerance = TIED.get((case["name"], name), 1e-9)
        np.testing.assert_allclose(ours.mean[0], case[name], atol=tolerance)


EMBEDDING = {"dimension": "E", "tau": "tau", "horizon": "Tp"}


def series(seed, length):
    """Two noisy coupled maps: no two distances are equal."""
    return coupled_maps(length, 0.02, 0.1, noise=0.01, seed=seed)


calls = {
    "seed": st.integers(0, 999),
    "dimension": st.integers(1, 5),
    "tau": st.sampled_from([-3, -2, -1, 1, 2]),
    "horizon": st.integers(-2, 4),
    "overlap": st.booleans(),
}


def arguments(seed, dimension, tau, horizon, overlap):
    x, y = series(seed, 120)
    spans = {"lib": [6, 90], "pred": [30, 110] if overlap else [91, 118]}
    embedding = {"dimension": dimension, "tau": tau, "horizon": horizon}
    ours = embedding | {
        "x": x, "y": y, "library": reference.library_rows(spans["lib"], **embedding),
        "prediction": reference.prediction_rows(spans["pred"]),
    }  # fmt: skip
    theirs = spans | {
        "dataFrame": pd.DataFrame({"Time": np.arange(120), "x": x, "y": y}), "columns": "x",
        "target": "y", "E": dimension, "tau": tau, "Tp": horizon,
    }  # fmt: skip
    return ours, theirs


def aligned(forecast, frame, horizon):
    """Ours and theirs where both predict: pyEDM puts a prediction where it comes true."""
    theirs = dict(zip(frame["Time"], frame["Predictions"], strict=True))
    pairs = [
        (ours, theirs[row + horizon])
        for row, ours in zip(forecast.rows, forecast.predicted, strict=True)
        if np.isfinite(theirs.get(row + horizon, np.nan))
    ]
    assert len(pairs) > 10
    return np.array(pairs).T


@settings(max_examples=25, deadline=None)
@given(**calls)
def test_simplex_is_pyedms(seed, dimension, tau, horizon, overlap):
    ours, theirs = arguments(seed, dimension, tau, horizon, overlap)
    frame = pyEDM.Simplex(**theirs, kdWorkers=1)
    np.testing.assert_allclose(*aligned(simplex(**ours), frame, horizon), atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(**calls, theta=st.sampled_from([0, 0.3, 1.0, 3.0, 6.0]))
def test_smap_is_pyedms(seed, dimension, tau, horizon, overlap, theta):
    ours, theirs = arguments(seed, dimension, tau, horizon, overlap)
    frame = pyEDM.SMap(**theirs, theta=theta, kdWorkers=1)["predictions"]
    forecast = smap(**ours, theta=theta, neighbours=len(ours["library"]) - 1)
    np.testing.assert_allclose(*aligned(forecast, frame, horizon), atol=1e-8)


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 999), st.integers(1, 4), st.sampled_from([-2, -1]), st.integers(-2, 2),
    st.integers(0, 5),
)  # fmt: skip
def test_ccm_is_pyedms(seed, dimension, tau, horizon, theiler):
    x, y = series(seed, 150)
    sizes = [dimension + 12, 60, 120]
    frame = pyEDM.CCM(
        dataFrame=pd.DataFrame({"Time": np.arange(150), "x": x, "y": y}), columns="x", target="y",
        E=dimension, tau=tau, Tp=horizon, exclusionRadius=theiler, libSizes=[*sizes, 130],
        sample=3, seed=seed, parallel=False,
    )  # fmt: skip
    embedding = {"dimension": dimension, "tau": tau, "horizon": horizon}
    drawn = reference.libraries(x, y, **embedding, sizes=frame["LibSize"], samples=3, seed=seed)
    found = ccm(x, y, **embedding, theiler=theiler, sizes=frame["LibSize"], libraries=drawn)
    np.testing.assert_allclose(found.y_drives_x.mean[0], frame["x:y"], atol=1e-10)
    np.testing.assert_allclose(found.x_drives_y.mean[0], frame["y:x"], atol=1e-10)
