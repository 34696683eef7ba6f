import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from analysis.statistics.registration import without_course

T = np.arange(400.0)


def course(progress):
    return 1 - 1.5 * (1 - np.exp(-progress / 8)) + 0.8 * (1 - np.exp(-progress / 60))


def late(progress):
    return 1 / (1 + np.exp(-(progress - 150) / 10))


def changes(level_SxT):
    """What seeds do not share of their increments."""
    return np.diff(level_SxT - level_SxT.mean(0)).ravel()


@pytest.mark.parametrize("of", [course, late])
def test_seeds_that_differ_in_speed_alone_leave_their_noise(of):
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.standard_normal((5, len(T)))
    speed = np.array([0.8, 0.9, 1.0, 1.15, 1.3])[:, None]
    level = of(T * speed) + noise
    left = changes(without_course(level)) - changes(noise)
    assert left.std() < 0.4 * changes(noise).std()
    # Smoothed, as increments are compared, nothing of the course is left.
    smooth = [gaussian_filter1d(np.diff(v - v.mean(0)), 3, axis=1) for v in (level, noise)]
    kept = gaussian_filter1d(np.diff(without_course(level)), 3, axis=1)
    kept = kept - kept.mean(0)
    assert (kept - smooth[1]).std() < 0.6 * (smooth[0] - smooth[1]).std()


def test_shift_and_scale_of_a_seed_belong_to_the_course():
    rng = np.random.default_rng(0)
    scale, shift = np.array([[1.0], [2.0], [0.5]]), np.array([[0.0], [3.0], [-1.0]])
    noise = 0.001 * rng.standard_normal((3, len(T)))
    left = without_course(shift + scale * course(T) + noise)
    assert (changes(left) - changes(noise)).std() < 0.5 * changes(noise).std()


def test_a_single_seed_loses_its_mean_alone():
    x = np.random.default_rng(0).standard_normal((1, 100))
    np.testing.assert_allclose(without_course(x), x - x.mean())


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_awkward_series_have_finite_residuals(seeds):
    rng = np.random.default_rng(0)
    still = np.ones((seeds, 120))
    walk = np.cumsum(rng.standard_normal((seeds, 120)), 1)
    step = np.repeat((T[:120] > 60)[None] * 1.0, seeds, 0)
    for level in (still, walk, step, 1e9 * walk, 1e-9 * walk):
        assert np.isfinite(without_course(level)).all()
