"""The test against exchanged seeds: exact, blind to seeds of different noise, alert to links."""

import numpy as np
import pytest

from analysis.edm import permutation

DRAWS = 400


def skills(noise_SxS):
    """Skill at one lag of a small and a large library, [S, S, 1, 2]."""
    return np.stack([0.1 * noise_SxS, noise_SxS], -1)[:, :, None]


def share(make, seeds, level, tests=DRAWS):
    drawn = (make(np.random.default_rng([i, seeds])) for i in range(tests))
    p = [permutation.exchanged_p(skills(w)) for w in drawn]
    return np.mean(np.array(p) <= level + 1e-12)


@pytest.mark.parametrize("seeds", [5, 6])
def test_size_where_nothing_acts(seeds):
    """Binomial(400, .05): 33 or more with probability .004."""
    assert share(lambda rng: rng.standard_normal((seeds, seeds)), seeds, 0.05) < 0.083


def test_size_where_seeds_differ_in_noise_and_share_a_signal():
    """Skill is the product of two factors of one noise; its plain sum is largest as recorded."""

    def shared(rng):
        factor = 1 / (1 + np.exp(rng.standard_normal(6)))
        return np.outer(factor, factor) + 0.02 * rng.standard_normal((6, 6))

    assert share(shared, 6, 0.05) < 0.083
    rng = np.random.default_rng(0)
    plain = permutation._sums(shared(rng)[..., None], permutation.orders(6, rng))[:, 0]
    assert np.mean(plain >= plain[0]) < 0.05


def test_a_link_has_the_smallest_p_that_there_is():
    rng = np.random.default_rng(0)
    for seeds, least in ((3, 1 / 6), (5, 1 / 120), (7, 1 / 5040), (9, 1e-4)):
        own = 0.8 * np.eye(seeds) + 0.02 * rng.standard_normal((seeds, seeds))
        assert permutation.exchanged_p(skills(own)) == pytest.approx(least)
        assert permutation.count_orders(seeds) == pytest.approx(1 / least)


def test_orders_are_a_group_with_the_recorded_one_first():
    every = permutation.orders(4, np.random.default_rng(0))
    assert len(every) == 24 and (every[0] == range(4)).all()
    products = {tuple(a[b]) for a in every for b in every}
    assert products == {tuple(a) for a in every}


def test_what_an_order_leaves_is_that_order_of_what_is_left():
    x = np.random.default_rng(0).standard_normal((5, 5, 3))
    order = [3, 0, 4, 1, 2]
    np.testing.assert_allclose(
        permutation.interaction(x[:, order]), permutation.interaction(x)[:, order], atol=1e-12
    )


def test_one_seed_has_no_other():
    assert permutation.exchanged_p(skills(np.ones((1, 1)))) == 1.0
