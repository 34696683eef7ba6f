import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.edm import neighbours


def by_hand(points, rows, queries, query_rows, count, theiler):
    index = np.zeros((len(queries), count), int)
    distance = np.full((len(queries), count), np.inf)
    for i, (query, row) in enumerate(zip(queries, query_rows, strict=True)):
        key = [
            (float(((query - p) ** 2).sum()), abs(r - row), r, j)
            for j, (p, r) in enumerate(zip(points, rows, strict=True))
            if abs(r - row) > theiler
        ]
        for k, (squared, _, _, j) in enumerate(sorted(key)[:count]):
            index[i, k], distance[i, k] = j, np.sqrt(squared)
    return index, distance


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.booleans(), st.integers(1, 7), st.integers(0, 4))
def test_neighbours_and_ties_are_those_by_hand(seed, rounded, count, theiler):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((60, 2))
    points = points.round(0) if rounded else points  # rounded: most distances are equal
    rows, query_rows = np.arange(10, 70), np.arange(30, 90)
    queries = np.vstack([points[20:], rng.standard_normal((20, 2)).round(rounded)])
    wanted = by_hand(points, rows, queries, query_rows, count, theiler)
    found = neighbours.nearest(points, rows, queries, query_rows, count, theiler)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-15)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("count", [5, 150, 400])
def test_sorted_lists_are_those_by_hand(rounded, count):
    rng = np.random.default_rng(3)
    states = rng.standard_normal((400, 2))
    states = states.round(1) if rounded else states
    rows = np.arange(400)
    order, distance = neighbours.ordered(states, rows, count, theiler=2)
    wanted = by_hand(states, rows, states[:50], rows[:50], count, 2)
    np.testing.assert_allclose(distance[:50], wanted[1], rtol=1e-15)
    finite = np.isfinite(wanted[1])
    np.testing.assert_array_equal(order[:50][finite], wanted[0][finite])


def test_distances_are_the_same_with_and_without_a_compiler(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((7, 3)), rng.standard_normal((3, 11))
    compiled = neighbours.squared_distances(a, b)
    monkeypatch.setattr(neighbours, "AVAILABLE", False)
    np.testing.assert_array_equal(compiled, neighbours.squared_distances(a, b))
    np.testing.assert_allclose(compiled, ((a[:, None] - b.T[None]) ** 2).sum(-1), rtol=1e-14)


def test_too_few_neighbours_are_infinitely_far():
    points, rows = np.zeros((3, 1)), np.arange(3)
    _, distance = neighbours.nearest(points, rows, points, rows, count=4)
    np.testing.assert_array_equal(distance, [[0, 0, np.inf, np.inf]] * 3)
