"""States on a map: density of points, basins of its peaks, and statistics of visits to basins."""

from typing import NamedTuple

import numpy as np

CELLS = 501  # cells per side of a map
REACH, MARGIN = 0.995, 1.1  # share of the points that the map shows, and margin factor around them
THRESHOLD = 1e-5  # share of the highest density below which a cell counts as empty
LEAST_STAY = 5  # smallest number of consecutive samples that make a stay


class Regions(NamedTuple):
    """A map that is divided into basins."""

    density: np.ndarray  # [CELLS, CELLS], first axis x
    label: np.ndarray  # int [CELLS, CELLS], 0 where empty, basins from 1
    extent: float  # the map extends from -extent to extent on both axes
    sigma: float  # width of the Gaussian that smoothes the density, in the units of the map

    @property
    def count(self) -> int:
        return int(self.label.max())

    def of(self, z_Nx2) -> np.ndarray:
        """Return the basins of points; a point on an empty cell belongs to the nearest basin."""
        from scipy.ndimage import distance_transform_edt

        cell = np.clip(_cell(z_Nx2, self.extent), 0, CELLS - 1)
        empty = self.label == 0
        near = distance_transform_edt(empty, return_distances=False, return_indices=True)
        return self.label[tuple(near[:, cell[:, 0], cell[:, 1]])]


def _cell(z_Nx2, extent):
    return np.round((np.asarray(z_Nx2) + extent) * (CELLS - 1) / (2 * extent)).astype(int)


def extent_of(z_Nx2) -> float:
    """Return half the side length of a map of points, without the few points far outside.

    t-SNE places a few points very far away. The extent covers 99.5 % of the points.
    """
    reach = np.quantile(np.abs(z_Nx2).max(1), REACH)
    return float(max(MARGIN * reach, np.finfo(float).tiny))


def density(z_Nx2, sigma: float, extent: float) -> np.ndarray:
    """Compute the density of points on a square, smoothed by a Gaussian.

    Args:
      z_Nx2: points.
      sigma: standard deviation of the Gaussian, in the units of the map.
      extent: half the side length of the square.

    Returns:
      Density [CELLS, CELLS] with sum 1.
    """
    from scipy.ndimage import gaussian_filter

    cell = _cell(z_Nx2, extent)
    inside = ((cell >= 0) & (cell < CELLS)).all(1)
    counts = np.zeros((CELLS, CELLS))
    np.add.at(counts, tuple(cell[inside].T), 1.0)
    smooth = gaussian_filter(counts, sigma * (CELLS - 1) / (2 * extent), mode="constant")
    return smooth / max(smooth.sum(), np.finfo(float).tiny)


def watershed(z_Nx2, sigma: float | None = None, extent: float | None = None) -> Regions:
    """Divide a map into the basins of the peaks of its density.

    Args:
      z_Nx2: points of the map.
      sigma: width of the Gaussian that smoothes the density. None means a fortieth of the extent.
        The number of basins depends on it, see `counts`.
      extent: half the side length of the map. None means that of `extent_of`.

    Returns:
      The map divided into basins.

    Raises:
      ImportError: scikit-image is not installed.
    """
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed as flood

    z_Nx2 = np.asarray(z_Nx2, float)
    extent = extent or extent_of(z_Nx2)
    sigma = sigma or extent / 40
    smooth = density(z_Nx2, sigma, extent)
    peaks = peak_local_max(smooth, min_distance=1, threshold_rel=THRESHOLD, exclude_border=False)
    markers = np.zeros(smooth.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    # watershed_line=True takes minutes on such a map (scikit-image 0.26).
    label = flood(-smooth, markers, connectivity=2, mask=smooth > THRESHOLD * smooth.max())
    return Regions(smooth, label, extent, sigma)


def counts(z_Nx2, fractions=(80, 56, 40, 28, 20, 14, 10)) -> dict[int, int]:
    """Count the basins for several widths of the density.

    Args:
      z_Nx2: points of the map.
      fractions: divisors of the extent; sigma is the extent divided by each of them.

    Returns:
      Number of basins by divisor.
    """
    extent = extent_of(z_Nx2)
    return {f: watershed(z_Nx2, extent / f, extent).count for f in fractions}


def separation(regions: Regions) -> float:
    """Measure how much of the density lies in separate hills.

    The prominence of a basin is 1 minus the ratio of its highest pass to its peak. The separation
    is the sum of prominence times share of the density, over all basins except the one with the
    highest peak.

    Args:
      regions: map divided into basins.

    Returns:
      Separation in [0, 1): (K - 1) / K for K equal islands, near 0 for one hill with shoulders.
    """
    label, smooth = regions.label, regions.density
    passes, peaks, weight = np.zeros((3, regions.count + 1))
    np.maximum.at(peaks, label, smooth)
    np.add.at(weight, label, smooth)
    for axis in (0, 1):
        one, other = [slice(None)] * 2, [slice(None)] * 2
        one[axis], other[axis] = slice(1, None), slice(None, -1)
        a, b = label[tuple(one)], label[tuple(other)]
        met = (a != b) & (a > 0) & (b > 0)
        height = np.minimum(smooth[tuple(one)], smooth[tuple(other)])[met]
        np.maximum.at(passes, a[met], height)
        np.maximum.at(passes, b[met], height)
    others = np.delete(np.arange(1, regions.count + 1), peaks[1:].argmax())
    return float(((1 - passes / np.maximum(peaks, np.finfo(float).tiny)) * weight)[others].sum())


def stays(label_T, least: int = LEAST_STAY) -> np.ndarray:
    """Keep the labels of stays and set all other labels to 0.

    A stay is a visit to a basin of at least `least` consecutive samples.

    Args:
      label_T: basins.
      least: smallest number of consecutive samples of a stay.

    Returns:
      Basins of the stays [T], 0 between stays.
    """
    label_T = np.asarray(label_T)
    start = np.flatnonzero(np.r_[True, label_T[1:] != label_T[:-1]])
    length = np.diff(np.r_[start, len(label_T)])
    return np.repeat(np.where(length >= least, label_T[start], 0), length)


def stays_of(label_T, every: int) -> np.ndarray:
    """Find the stays in labels of every n-th sample, with n = `every`; see `stays`."""
    return stays(label_T, -(-LEAST_STAY // every))


def dwell_times(label_T) -> dict[int, np.ndarray]:
    """Return the lengths of the visits to each state in samples; label 0 is no state."""
    label_T = np.asarray(label_T)
    start = np.flatnonzero(np.r_[True, label_T[1:] != label_T[:-1]])
    length = np.diff(np.r_[start, len(label_T)])
    return {int(s): length[label_T[start] == s] for s in np.unique(label_T) if s}


def moves(label_T, count: int) -> np.ndarray:
    """Count the moves from each state to each other state, [count, count].

    Samples in no state (label 0) are skipped, so a move through them counts as direct.
    """
    visited = np.asarray(label_T)
    visited = visited[visited > 0]
    visited = visited[np.r_[True, visited[1:] != visited[:-1]]] if len(visited) else visited
    found = np.zeros((count, count))
    np.add.at(found, (visited[:-1] - 1, visited[1:] - 1), 1.0)
    return found


def transitions(moves_KxK) -> np.ndarray:
    """Divide the moves by their number per state; a state that is never left has a row of zeros."""
    total = moves_KxK.sum(1, keepdims=True)
    return np.divide(moves_KxK, total, out=np.zeros_like(moves_KxK), where=total > 0)
