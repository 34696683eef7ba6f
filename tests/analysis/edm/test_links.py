"""The procedure as a whole: planted links are found, nulls are not."""

import numpy as np
import pytest

from analysis.edm import links, nulls
from tests.analysis.edm.reference import coupled_maps


def judged(x, y, seed=0, **settings):
    """Verdicts for both directions."""
    found, rng = {}, np.random.default_rng(seed)
    for effect, cause, names in ((y, x, ("x", "y")), (x, y, ("y", "x"))):
        embedding, used = links.choose(effect)
        null = nulls.phase_randomised(cause, 39, rng)
        found[names] = links.evidence(effect, cause, null, embedding, used, **settings)
    return {(row["cause"], row["effect"]): row for row in links.verdicts(found)}


def test_a_one_way_link_is_found_one_way():
    x, y = coupled_maps(800, 0.0, 0.1, noise=0.002)
    rows = judged(x, y)
    assert rows["x", "y"]["verdict"] == "drives" and rows["x", "y"]["lag"] <= 0
    assert rows["x", "y"]["tendency"] > 0.8
    assert rows["y", "x"]["verdict"] == "no evidence"


def test_synchrony_is_told_from_a_cause_by_its_lag():
    x, y = coupled_maps(800, 0.0, 0.32)
    rows = judged(x, y)
    assert rows["x", "y"]["verdict"] == "drives"
    assert rows["y", "x"]["verdict"] == "synchrony or reverse" and rows["y", "x"]["lag"] > 0


@pytest.mark.parametrize("persistence", [0.9, 0.99])
def test_independent_series_are_not_linked(persistence):
    false = 0
    for seed in range(20):
        rng = np.random.default_rng([seed, 1])
        noise = rng.standard_normal((2, 900))
        x = np.zeros_like(noise)
        for t in range(1, 900):
            x[:, t] = persistence * x[:, t - 1] + noise[:, t]
        x, y = x[:, 500:]
        embedding, used = links.choose(x)
        null = nulls.phase_randomised(y, 19, rng)
        found = links.evidence(x, y, null, embedding, used, lags=[0], samples=3)
        false += found.p <= 0.05
    assert false <= 4  # binomial(20, .05): more with probability .003


def test_the_embedding_is_chosen_on_rows_that_are_not_used_again():
    x, _ = coupled_maps(1000, 0.0, 0.0)
    embedding, used = links.choose(x)
    assert embedding.dimension == 2 and used[0] == 300
    again, _ = links.choose(np.concatenate([x[:300], np.zeros(700)]))
    assert again == embedding


def test_a_constant_beginning_is_refused():
    with pytest.raises(ValueError, match="cannot be predicted at all"):
        links.choose(np.concatenate([np.ones(300), np.arange(700.0)]))
