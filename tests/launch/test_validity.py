"""Every case of the validity suite runs; its rates are for docs/results/validity."""

import pytest

from launch.benchmarks.validity import suite
from launch.benchmarks.validity.cases import case


def test_a_rate_is_held_against_its_goal():
    null = case("n", "null", [False] * 19 + [True], most=0.05)
    assert null["rate"] == 0.05 and null["met"] and null["low"] < 0.05 < null["high"]
    assert not case("p", "planted", [True, False], least=0.9)["met"]


@pytest.mark.slow_except("tables")
@pytest.mark.parametrize("area", suite.AREAS)
def test_every_case_of_an_area_runs_and_has_a_rate_from_before(area):
    rows = suite.AREAS[area](True)
    assert rows and all(0 <= row["rate"] <= 1 for row in rows)
    assert len({row["case"] for row in rows}) == len(rows)
    before = suite._before(area)
    assert {row["case"] for row in rows} <= set(before)
