"""Jump detector: false jumps in series without jumps, and planted jumps that it finds."""

import numpy as np

from analysis.tap import detector_validity
from launch.benchmarks.validity.cases import case
from tapjax.contract import detector

FIRST_SEED = 1000  # the thresholds were chosen on batteries of seeds below 100
SERIES = 100
MOST = 0.1  # share of series of 400 measurements with a false jump: .25 per 1000 measurements
# A step of 5 noise standard deviations on top of a steep recovery is hard to detect.
LEAST = {"step in a recovery": 0.85}


def cases(quick: bool) -> list[dict]:
    """Measure rates over batteries of series from seeds that were not used to choose thresholds.

    Args:
      quick: whether to use two batteries instead of 100.

    Returns:
      Rows from `launch.benchmarks.validity.cases.case`. For a null, the rate is the share of series
      in which any jump is found. For planted jumps, it is the share of jumps that are found within
      5 measurements.
    """
    claims = {}
    seeds = range(FIRST_SEED, FIRST_SEED + (2 if quick else SERIES))
    for fixture, found, hits in detector_validity.attempts(_find, seeds):
        planted = len(fixture.jumps)
        claims.setdefault((fixture.name, planted > 0), []).extend(
            [True] * hits + [False] * (planted - hits) if planted else [len(found) > 0]
        )
    return [
        case(name, "planted", of_case, least=LEAST.get(name, 0.95))
        if planted
        else case(name, "null", of_case, most=MOST)
        for (name, planted), of_case in claims.items()
    ]


def _find(series_NxT):
    found = detector.detect_each(series_NxT, np.arange(series_NxT.shape[1]))
    return [[jump.index for jump in of_one] for of_one in found]
