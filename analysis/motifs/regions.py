"""States on a map: density of points, its peaks' basins, and what the visits to them are like."""

from typing import NamedTuple

import numpy as np

CELLS = 501
REACH, MARGIN = 0.995, 1.1  # share of the points that the map shows, and room around them
THRESHOLD = 1e-5  # of the highest density: beyond it the map is empty
LEAST_STAY = 5  # samples in a row that make a stay


class Regions(NamedTuple):
    """A map cut into basins."""

    density: np.ndarray  # [CELLS, CELLS], first axis x
    label: np.ndarray  # int [CELLS, CELLS], 0 where empty, basins from 1
    extent: float  # the map reaches from -extent to extent
    sigma: float  # of the density

    @property
    def count(self) -> int:
        return int(self.label.max())

    def of(self, z_Nx2) -> np.ndarray:
        """Basins of points; of a point on an empty cell the nearest one's."""
        from scipy.ndimage import distance_transform_edt

        cell = np.clip(_cell(z_Nx2, self.extent), 0, CELLS - 1)
        empty = self.label == 0
        near = distance_transform_edt(empty, return_distances=False, return_indices=True)
        return self.label[tuple(near[:, cell[:, 0], cell[:, 1]])]


def _cell(z_Nx2, extent):
    return np.round((np.asarray(z_Nx2) + extent) * (CELLS - 1) / (2 * extent)).astype(int)


def extent_of(z_Nx2) -> float:
    """Half the side of a map of points; the few that t-SNE throws far away do not set it."""
    reach = np.quantile(np.abs(z_Nx2).max(1), REACH)
    return float(max(MARGIN * reach, np.finfo(float).tiny))


def density(z_Nx2, sigma: float, extent: float) -> np.ndarray:
    """Gaussian-smoothed density of points on a square.

    Args:
      z_Nx2: points.
      sigma: of the Gaussian, in the map's units.
      extent: half the side of the square.

    Returns:
      [CELLS, CELLS] of sum 1.
    """
    from scipy.ndimage import gaussian_filter

    cell = _cell(z_Nx2, extent)
    inside = ((cell >= 0) & (cell < CELLS)).all(1)
    counts = np.zeros((CELLS, CELLS))
    np.add.at(counts, tuple(cell[inside].T), 1.0)
    smooth = gaussian_filter(counts, sigma * (CELLS - 1) / (2 * extent), mode="constant")
    return smooth / max(smooth.sum(), np.finfo(float).tiny)


def watershed(z_Nx2, sigma: float | None = None, extent: float | None = None) -> Regions:
    """Basins of the density's peaks.

    Args:
      z_Nx2: points of the map.
      sigma: of the density; a fortieth of the extent by default. The number of basins depends on
        it: see `counts`.
      extent: half the side of the map, from `extent_of` by default.

    Returns:
      Regions.

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
    """Number of basins by how fine the density is: sigma is the extent over each number."""
    extent = extent_of(z_Nx2)
    return {f: watershed(z_Nx2, extent / f, extent).count for f in fractions}


def separation(regions: Regions) -> float:
    """How much of the map lies in hills of their own: 0 of a single hill and its shoulders.

    The prominence of each basin, 1 less the highest pass out of it over its peak, times the share
    of the points in it, summed over all but the one with the highest peak: of K islands alike
    (K - 1) / K.
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
    """Labels where a basin is kept for some samples in a row, 0 (on the way) elsewhere."""
    label_T = np.asarray(label_T)
    start = np.flatnonzero(np.r_[True, label_T[1:] != label_T[:-1]])
    length = np.diff(np.r_[start, len(label_T)])
    return np.repeat(np.where(length >= least, label_T[start], 0), length)


def stays_of(label_T, every: int) -> np.ndarray:
    """The same of every so many samples."""
    return stays(label_T, -(-LEAST_STAY // every))


def dwell_times(label_T) -> dict[int, np.ndarray]:
    """Lengths of the visits to each state, in samples; 0 is no state."""
    label_T = np.asarray(label_T)
    start = np.flatnonzero(np.r_[True, label_T[1:] != label_T[:-1]])
    length = np.diff(np.r_[start, len(label_T)])
    return {int(s): length[label_T[start] == s] for s in np.unique(label_T) if s}


def moves(label_T, count: int) -> np.ndarray:
    """How often each state was left for each other, [count, count]; through no state is direct."""
    visited = np.asarray(label_T)
    visited = visited[visited > 0]
    visited = visited[np.r_[True, visited[1:] != visited[:-1]]] if len(visited) else visited
    found = np.zeros((count, count))
    np.add.at(found, (visited[:-1] - 1, visited[1:] - 1), 1.0)
    return found


def transitions(moves_KxK) -> np.ndarray:
    """Shares of the moves out of each state; a state that is never left has a row of zeros."""
    total = moves_KxK.sum(1, keepdims=True)
    return np.divide(moves_KxK, total, out=np.zeros_like(moves_KxK), where=total > 0)
