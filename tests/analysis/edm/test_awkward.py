"""Awkward series and settings: each gives a right number or an error of one line."""

import numpy as np
import pandas as pd
import pytest

from analysis import edm
from analysis.edm import baselines, neighbours, s_map, scan
from analysis.edm.coupled_maps import coupled_maps

T = 120
LIBRARY, AHEAD = np.arange(10, 80), np.arange(60, 115)
RNG = np.random.default_rng(0)
BASE = RNG.standard_normal((T, 2))
X, Y = (series[:T] for series in coupled_maps(T, 0.02, 0.1, noise=0.01))
DEPENDENT = {
    "a sum": np.hstack([BASE, BASE @ [[0.3], [-2.0]]]),
    "a copy": np.hstack([BASE, BASE[:, :1]]),
    "a constant": np.hstack([BASE, np.full((T, 1), 0.1)]),
    "zeros": np.hstack([BASE, np.zeros((T, 1))]),
    "shares of one": RNG.dirichlet([1, 1, 1], T),
    "only constants": np.full((T, 2), 0.1),
    "constant in pieces": np.hstack([BASE, (np.arange(T) // 30 * 0.1)[:, None]]),
    "another unit": BASE * [1.0, 1e-9],
    "independent": np.cumsum(BASE, 0),
}  # fmt: skip


def by_lstsq(x_TxE, y_T, theta):
    """Predictions and coefficients by `numpy.linalg.lstsq`, row by row."""
    found = []
    for row in AHEAD:
        known = LIBRARY[row != LIBRARY]
        distance = np.sqrt(((x_TxE[known] - x_TxE[row]) ** 2).sum(1))
        mean = distance.mean()
        weight = np.exp(-theta * distance / mean) if mean > 0 else np.ones(len(known))
        design = np.hstack([np.ones((len(known), 1)), x_TxE[known]]) * weight[:, None]
        solution = np.linalg.lstsq(design, weight * y_T[known], rcond=None)[0]
        found.append([solution[0] + x_TxE[row] @ solution[1:], *solution])
    return np.array(found)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("theta", [0, 0.5, 3])
@pytest.mark.parametrize("name", DEPENDENT)
def test_an_smap_has_the_least_norm(name, theta, compiled, monkeypatch):
    monkeypatch.setattr(neighbours, "AVAILABLE", compiled and neighbours.AVAILABLE)
    x, y = DEPENDENT[name], BASE[:, 0] + RNG.standard_normal(T)
    found = edm.smap(x, y, LIBRARY, AHEAD, dimension=1, theta=theta, horizon=0)
    wanted = by_lstsq(x, y, theta)
    scale = 1 + np.abs(wanted[:, 1:]).max()
    np.testing.assert_allclose(found.predicted, wanted[:, 0], atol=1e-8)
    np.testing.assert_allclose(found.coefficients / scale, wanted[:, 1:] / scale, atol=1e-8)


def test_ties_among_the_neighbours_of_an_smap_have_one_order():
    """As in simplex projection: by distance, then by time, then by row."""
    x, y = np.tile([0.0, 1, 2, 3], 30), np.arange(120.0)
    found = edm.smap(
        x, y, np.arange(80), [100], dimension=1, theta=0, horizon=0, neighbours=20
    )  # at distance 0 lie 0, 4, ..., 76: all are taken, in which y is anything
    assert found.predicted[0] == pytest.approx(np.arange(0, 80, 4).mean())
    few = edm.smap(x, y, np.arange(80), [100], dimension=1, theta=0, horizon=0, neighbours=5)
    assert few.predicted[0] == pytest.approx(np.mean([60, 64, 68, 72, 76]))
    assert len(s_map.local_weights(np.ones((1, 3)), 1.0)[0]) == 3


FORECASTS = {
    "simplex": lambda lib, ahead: edm.simplex(X, Y, lib, ahead, dimension=2),
    "smap": lambda lib, ahead: edm.smap(X, Y, lib, ahead, dimension=2, theta=2),
    "multiview": lambda lib, ahead: (
        edm.multiview(np.stack([X, Y], 1), Y, lib, ahead, dimension=2, theiler=2).forecast
    ),
    "AR": lambda lib, ahead: baselines.ar_forecast(Y, lib, ahead, most=3),
    "persistence": lambda lib, ahead: baselines.persistence(Y, ahead),
}


@pytest.mark.parametrize("name", FORECASTS)
def test_rows_mean_the_same_in_every_forecast(name):
    """A mask is a mask, a list is an array, and a library is a set."""
    made = FORECASTS[name]
    mask, ahead = np.isin(np.arange(T), LIBRARY), np.isin(np.arange(T), AHEAD)
    wanted = made(LIBRARY, AHEAD)
    for library, asked in (
        (mask, ahead),
        (mask.tolist(), AHEAD.tolist()),
        (pd.Series(mask), pd.Series(AHEAD)),
        (np.concatenate([LIBRARY[::-1], LIBRARY[:30]]), AHEAD),
    ):
        found = made(library, asked)
        np.testing.assert_array_equal(found.rows, wanted.rows)
        np.testing.assert_allclose(found.predicted, wanted.predicted, atol=1e-12)
    twice = made(LIBRARY, np.concatenate([AHEAD[:5], AHEAD[:5]]))
    if name != "multiview":  # whose views have rows in common
        np.testing.assert_array_equal(twice.predicted[:5], twice.predicted[5:])
    for bad in (mask[:50], LIBRARY + 0.5, [[1, 2]], ["a"], [-1, 3], [T]):
        with pytest.raises(ValueError):
            made(LIBRARY, bad)
        if name != "persistence":
            with pytest.raises(ValueError):
                made(bad, AHEAD)


@pytest.mark.slow
def test_rows_mean_the_same_in_cross_mapping():
    mask = np.isin(np.arange(T), LIBRARY)
    wanted = edm.cross_map(X, Y, dimension=2, rows=LIBRARY, sizes=[20, 60]).rho
    for rows in (mask, mask.tolist(), LIBRARY.tolist(), np.repeat(LIBRARY, 2)):
        found = edm.cross_map(X, Y, dimension=2, rows=rows, sizes=[20, 60]).rho
        np.testing.assert_array_equal(found, wanted)
        both = edm.ccm(Y, X, dimension=2, rows=rows, sizes=[20, 60])
        assert both.x_drives_y.rho.shape == (1, 2, 30)
    for bad in (mask[:50], [0.5], [T], [-1], ["a"]):
        with pytest.raises(ValueError, match="cross-map"):
            edm.cross_map(X, Y, dimension=2, rows=bad)


@pytest.mark.parametrize("compiled", [True, False])
def test_libraries_that_are_no_sets_are_refused_on_every_path(compiled, monkeypatch):
    monkeypatch.setattr(scan, "AVAILABLE", compiled and scan.AVAILABLE)
    good = np.tile(np.arange(30), (2, 1))
    assert edm.cross_map(X, Y, dimension=2, libraries=[good]).sizes.tolist() == [30]
    for bad, message in (
        (np.r_[0, 0, np.arange(28)], "names a row twice"),
        (good + T, "positions"),
        (good - 1, "positions"),
        (good > 5, "type bool"),
        (good + 0.5, "type float"),
    ):
        with pytest.raises(ValueError, match=message):
            edm.cross_map(X, Y, dimension=2, libraries=[bad])


GIVEN = (
    "list", "column", "Series", "shifted index", "DataFrame", "float32", "masked", "object",
)  # fmt: skip


@pytest.mark.parametrize("kind", GIVEN)
def test_a_series_may_come_as_anything(kind):
    give = {
        "list": list,
        "column": lambda x: x[:, None],
        "Series": pd.Series,
        "shifted index": lambda x: pd.Series(x, index=np.arange(T) + 7),
        "DataFrame": lambda x: pd.DataFrame({"x": x}),
        "float32": lambda x: x.astype(np.float32),
        "masked": np.ma.masked_array,
        "object": lambda x: x.astype(object),
    }[kind]
    x, y = (np.asarray(v, np.float32).astype(float) for v in (X, Y))
    for call in (
        lambda a, b: edm.simplex(a, b, LIBRARY, AHEAD, dimension=2).predicted,
        lambda a, b: edm.smap(a, b, LIBRARY, AHEAD, dimension=2, theta=1).predicted,
        lambda a, b: edm.cross_map(a, b, dimension=2, sizes=[20, 80], samples=3).rho,
        lambda a, b: edm.ccm(a, b, dimension=2, sizes=[20, 80], samples=3).x_drives_y.rho,
        lambda a, b: baselines.ar_forecast(b, LIBRARY, AHEAD, most=3).predicted,
    ):
        np.testing.assert_array_equal(call(give(x), give(y)), call(x, y))


def test_integers_and_booleans_are_numbers_and_a_mask_hides():
    x = RNG.integers(0, 9, T)
    for values in (x, x > 4):
        found = edm.simplex(values, values, LIBRARY, AHEAD, dimension=2)
        floats = edm.simplex(
            values.astype(float), values.astype(float), LIBRARY, AHEAD, dimension=2
        )
        np.testing.assert_array_equal(found.predicted, floats.predicted)
    hidden = np.ma.masked_array(X, np.arange(T) == 20)
    missing = np.where(np.arange(T) == 20, np.nan, X)
    found = (edm.simplex(x, Y, LIBRARY, AHEAD, dimension=2).predicted for x in (hidden, missing))
    np.testing.assert_array_equal(*found)


def test_missing_values_are_left_out_of_libraries_and_never_predicted_from():
    x = X.copy()
    x[[20, 70]] = np.nan, np.inf
    for made in (
        edm.simplex(x, x, LIBRARY, AHEAD, dimension=2),
        edm.smap(x, x, LIBRARY, AHEAD, dimension=2, theta=1),
    ):
        assert np.isfinite(made.predicted).all() and not {70, 71} & set(made.rows)
    without = np.setdiff1d(LIBRARY, [19, 20, 21, 69, 70, 71])
    clean = edm.simplex(X, X, without, [90, 91], dimension=2)
    np.testing.assert_array_equal(
        edm.simplex(x, x, LIBRARY, [90, 91], dimension=2).predicted, clean.predicted
    )
    assert np.isfinite(edm.cross_map(x, Y, dimension=2, samples=3).rho).all()


def test_a_constant_has_no_skill_however_it_is_rounded():
    for value in (0.1, 1 / 3, 1e9 + 0.1):
        constant = np.full(T, value)
        assert np.isnan(edm.cross_map(X, constant, dimension=2, samples=3).rho).all()
        found = edm.simplex(constant, constant, LIBRARY, AHEAD, dimension=2)
        np.testing.assert_allclose(found.predicted, value)
        assert np.isnan(edm.skill(found.observed, found.predicted)["rho"])


def test_the_present_can_be_estimated_and_lags_may_look_ahead():
    here = edm.simplex(X, Y, LIBRARY, AHEAD, dimension=2, horizon=0)
    np.testing.assert_array_equal(here.observed, Y[here.rows])
    back = edm.smap(X[::-1], X[::-1], T - 1 - LIBRARY, T - 1 - AHEAD, dimension=2, theta=1, tau=1,
                    horizon=-1)  # fmt: skip
    forth = edm.smap(X, X, LIBRARY, AHEAD, dimension=2, theta=1)
    np.testing.assert_allclose(back.predicted, forth.predicted, atol=1e-9)


MADE = {
    "simplex": lambda **more: edm.simplex(
        **{"x": X, "y": Y, "library": LIBRARY, "prediction": AHEAD, "dimension": 2} | more
    ),
    "smap": lambda **more: edm.smap(
        **{"x": X, "y": Y, "library": LIBRARY, "prediction": AHEAD, "dimension": 2, "theta": 1}
        | more
    ),
    "cross_map": lambda x=X, y=Y, **more: edm.cross_map(x, y, **{"dimension": 2} | more),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize(
    "wrong",
    [
        {"dimension": 0}, {"dimension": 1.5}, {"dimension": 200}, {"dimension": None},
        {"tau": 0}, {"tau": -1.5}, {"tau": -130}, {"horizon": 0.5}, {"horizon": T},
        {"theiler": -1}, {"theiler": 1.5}, {"neighbours": -1}, {"neighbours": 2.5},
        {"neighbours": "3"}, {"y": Y[:-1]}, {"x": X[:-1]}, {"x": X + 1j}, {"x": ["a"] * T},
        {"y": np.zeros((T, 2, 2))}, {"x": []}, {"x": np.full(T, np.nan)}, {"x": 3.0},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_are_refused_in_one_line(name, wrong):
    with pytest.raises(ValueError) as caught:
        MADE[name](**wrong)
    assert str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("simplex", {"y": np.stack([X, Y], 1)}),
        ("smap", {"y": np.stack([X, Y], 1)}),
        ("smap", {"theta": -1}),
        ("smap", {"theta": np.nan}),
        ("smap", {"neighbours": 2}),
        ("simplex", {"library": [10, 11]}),
        ("smap", {"library": [10, 11, 12, 12, 12]}),
        ("cross_map", {"sizes": []}),
        ("cross_map", {"sizes": [20.5]}),
        ("cross_map", {"sizes": [T + 1]}),
        ("cross_map", {"samples": 0}),
        ("cross_map", {"theiler": 100}),
    ],
)
def test_what_does_not_fit_is_refused(name, wrong):
    with pytest.raises(ValueError):
        MADE[name](**wrong)


def test_more_neighbours_in_time_than_rows_leave_nothing_to_predict_from():
    assert np.isnan(MADE["simplex"](theiler=1000).predicted).all()
    assert np.isnan(MADE["smap"](theiler=1000).predicted).all()


def test_scores_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        edm.skill(np.zeros((9, 1)), np.zeros(9))
