"""Suite `validity`: false and missed claims of every analysis, next to earlier rates."""

import csv
from pathlib import Path

from launch.benchmarks.validity import detector, edm, emergence, fits, mechanistic, tables

# Area -> function of `quick` that returns rows from `launch.benchmarks.validity.cases.case`.
AREAS = {
    "detector": detector.cases,
    "edm": edm.cases,
    "emergence": emergence.cases,
    "fits": fits.cases,
    "mechanistic": mechanistic.cases,
    "tables": tables.cases,
}
BEFORE = Path(__file__).parents[3] / "docs" / "results" / "validity" / "before"


def validity(turns: int, quick: bool = False) -> list[dict]:
    """Measure every area.

    Args:
      turns: not used, because each case has its own number of draws.
      quick: whether to use few draws, enough to check that every case runs.

    Returns:
      Rows of all areas. Each also has its `area` and the rate `before`, which was measured with the
      same case at commit e45ab41; None for a case that could not be measured there.
    """
    del turns
    rows = []
    for area, cases in AREAS.items():
        before = _before(area)
        for row in cases(quick):
            rows.append({"area": area, "before": before.get(row["case"])} | row)
    return rows


def _before(area):
    path = BEFORE / f"{area}.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["case"]: float(row["rate"]) for row in csv.DictReader(file)}
