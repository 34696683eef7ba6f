"""Can a claim be made at all? The smallest p of every command passes its own correction."""

import pytest

from analysis.edm import links, permutation
from analysis.mechanistic import convergence, critical_steps
from analysis.motifs import stages, verdict
from analysis.statistics import lags

LEVEL = 0.05
RUNS, CAPABILITIES = 36, 3  # of the largest sweep in docs/results
ATTAINABLE = {
    # name: (smallest p, number of tests corrected together)
    "edm, 2 variables, surrogates": (1 / (1 + links.surrogates_for(2)), 2),
    "edm, 3 variables, surrogates": (1 / (1 + links.surrogates_for(6)), 6),
    "edm, 6 variables, surrogates": (1 / (1 + links.surrogates_for(30)), 30),
    "edm, 3 variables, 5 seeds": (1 / permutation.count_orders(5), 6),
    "edm, 6 variables, 6 seeds": (1 / permutation.count_orders(6), 30),
    "edm, 22 variables, 8 seeds": (1 / permutation.count_orders(8), 22 * 21),
    "emergence, blocks of random sign": (1 / (1 + lags.SURROGATES), RUNS * CAPABILITIES),
    "emergence, guards": (1 / (1 + lags.FEW_SURROGATES), 1),
    "mechanistic, moments": (1 / (1 + critical_steps.NULL_PAIRS), 5),
    "motifs, maps of controls": (1 / (1 + verdict.ENOUGH), 1),
    "motifs, order of states": (1 / (1 + stages.SHUFFLES), 1),
    "tap, kinds of jumps": (1 / (1 + convergence.SHUFFLES), 1),
    "tap, order of five layers": (2 / 120, 1),
}


@pytest.mark.parametrize("name", ATTAINABLE)
def test_the_smallest_p_passes(name):
    smallest, tests = ATTAINABLE[name]
    assert smallest * tests <= LEVEL * (1 + 1e-9)


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_seeds_that_are_too_few_are_refused(seeds):
    """Two links are the fewest: 2/24 is above .05."""
    with pytest.raises(ValueError, match="take 5 seeds"):
        links.check_attainable(2, 10_000, seeds)
