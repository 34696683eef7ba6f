import numpy as np
import pytest

from analysis.motifs import wavelets


@pytest.mark.parametrize("length", [4000, 4001])
def test_equal_sinusoids_are_equal_at_every_frequency(length):
    frequency = wavelets.frequencies(1 / 50, 0.5)
    assert frequency[1] / frequency[0] == pytest.approx(25 ** (1 / 24))
    t = np.arange(length)
    x = np.cos(2 * np.pi * frequency * t[:, None])
    found = wavelets.amplitudes(x, frequency)
    assert found.shape == (length, 25, 25) and wavelets.UNIT == pytest.approx(0.2004, abs=1e-4)
    own = found[length // 2, range(25), range(25)]
    np.testing.assert_allclose(own, 0.2004, atol=0.001)


def test_published_frequencies():
    """MotionMapper's defaults: 1 to 50 Hz at 100 samples a second."""
    grid = 100 * wavelets.frequencies(0.01, 0.5)
    np.testing.assert_allclose(grid[:4], [1, 1.177, 1.3854, 1.6307], atol=1e-4)
    np.testing.assert_allclose(grid[-3:], [36.09, 42.48, 50], atol=0.01)


def test_a_burst_is_seen_when_and_where_it_is():
    frequency = wavelets.frequencies(0.01, 0.5)
    t = np.arange(2000)
    x = np.where((t > 900) & (t < 1100), np.sin(2 * np.pi * frequency[15] * t), 0.0)
    found = wavelets.amplitudes(x[:, None], frequency)[:, 0]
    when, where = np.unravel_index(found.argmax(), found.shape)
    assert 900 < when < 1100 and where == 15
    assert found[:700].max() < 0.01 * found.max()


def test_amplitudes_do_not_depend_on_what_other_channels_do():
    x = np.random.default_rng(0).standard_normal((500, 3))
    frequency = wavelets.frequencies(0.02, 0.4, 7)
    both, one = wavelets.amplitudes(x, frequency), wavelets.amplitudes(x[:, 1:2], frequency)
    np.testing.assert_allclose(both[:, 1], one[:, 0], atol=1e-14)


def test_shares_leave_out_how_much():
    a = np.random.default_rng(0).random((50, 2, 5))
    a[7] = 0
    part, total = wavelets.shares(a)
    np.testing.assert_allclose(part.sum(1), 1)
    np.testing.assert_allclose(wavelets.shares(3 * a)[0], part)
    np.testing.assert_allclose(part[7], 0.1)
    assert total[7] == 0 and total[3] == pytest.approx(a[3].sum())


def test_the_ends_are_left_out_by_frequency():
    fast, slow = wavelets.cone(1000, 0.4), wavelets.cone(1000, 0.01)
    assert fast.start < 5 < slow.start < 150 and slow.stop == 1000 - slow.start
    never = wavelets.cone(50, 0.01)
    assert never.start == never.stop


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="highest <= 0.5"):
        wavelets.frequencies(0.1, 0.7)
    with pytest.raises(ValueError, match="finite"):
        wavelets.amplitudes(np.array([[np.nan], [1.0]]), [0.1])
