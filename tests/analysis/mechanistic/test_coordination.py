import numpy as np
import pytest

from analysis.mechanistic import coordination


def series(seed, layers=6, length=400):
    """Layers that wander by themselves, fast at first."""
    rng = np.random.default_rng(seed)
    size = 0.1 + 2 * np.exp(-np.arange(length) / 40)
    return np.cumsum(size[:, None] * rng.standard_normal((length, layers)), 0)


def test_layers_that_know_nothing_of_each_other_are_not_coordinated():
    hits = [
        coordination.coordinated(series(s), np.random.default_rng(s)).p <= 0.05 for s in range(40)
    ]
    assert np.mean(hits) <= 0.125


def test_a_common_movement_is_found_where_it_was_planted():
    for seed in range(5):
        layers = series(seed)
        layers[200:] += 1.0
        verdict = coordination.coordinated(layers, np.random.default_rng(seed))
        assert verdict.p <= 0.05
        assert [p.start <= 200 < p.stop for p in verdict.periods].count(True) == 1
        assert verdict.value_T[200] == 1.0 and len(verdict.value_T) == 400


def test_d_that_goes_its_own_way_is_not_linked_to_the_loss():
    hits = []
    for seed in range(40):
        d, loss = series(seed, 2).T
        verdict = coordination.loss_linked(d, np.exp(0.1 * loss), np.random.default_rng(seed))
        hits.append(verdict.p <= 0.05)
    assert np.mean(hits) <= 0.125


def test_two_smooth_series_are_not_linked_for_being_smooth():
    rng, t, hits = np.random.default_rng(0), np.arange(600), []
    for _ in range(40):
        falls = [np.exp(-t / rng.uniform(20, 80)) for _ in range(2)]
        d = 10 - 4 * falls[0] + 0.003 * np.cumsum(rng.standard_normal(600))
        log_loss = 0.8 * falls[1] - 1 + 0.001 * np.cumsum(rng.standard_normal(600))
        hits.append(coordination.loss_linked(d, np.exp(log_loss), rng, 99).p <= 0.05)
    assert np.mean(hits) <= 0.125


def test_a_link_with_the_loss_is_found_where_it_was_planted():
    d, other = series(0, 2).T
    change = np.diff(other)
    change[250:290] = -3 * np.diff(d)[250:290]
    loss = np.exp(0.1 * np.append(0, np.cumsum(change)))
    verdict = coordination.loss_linked(d, loss, np.random.default_rng(0))
    assert verdict.p <= 0.05
    assert any(240 < period.start < 290 for period in verdict.periods)
    assert verdict.value_T[270] == pytest.approx(-1)


@pytest.mark.parametrize("shape", [(400, 2), (50, 6)])
def test_too_little_is_refused(shape):
    with pytest.raises(ValueError, match="coordination needs"):
        coordination.coordinated(np.ones(shape), np.random.default_rng(0))
    with pytest.raises(ValueError, match="not finite"):
        coordination.loss_linked(np.full(200, np.nan), np.ones(200), np.random.default_rng(0))
    with pytest.raises(ValueError, match="series that change"):
        coordination.loss_linked(np.ones(200), np.ones(200), np.random.default_rng(0))
