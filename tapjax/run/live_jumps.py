"""The jump detector for a network that is still training.

It searches each new chunk of measurements for jumps, and chooses the steps whose states are kept.
"""

from typing import NamedTuple

import numpy as np

from tapjax.contract.detector import LEAST_LENGTH, MEAN, MEMORY, search_finite, strongest


class Search(NamedTuple):
    """State of the search: the part of each series that is still needed, and the jumps found.

    `series_NxT` has one row per series, measured at the training steps `steps_T`. `from_N` is the
    index at which the search of each series continues.
    """

    names: tuple[tuple[int, str], ...]  # seed and layer of each series
    alive_N: np.ndarray  # False once a series had a value that is not finite
    steps_T: np.ndarray
    series_NxT: np.ndarray
    from_N: np.ndarray
    found: list[dict]


def start(seeds, layer_names) -> Search:
    """Return a search without any measurements.

    Args:
      seeds: seeds of the run.
      layer_names: names of the measured layers, the head last.

    Returns:
      A Search with one series per seed and layer, and one per seed for D, the mean over all layers
      but the head.
    """
    names = tuple((seed, layer) for seed in seeds for layer in (MEAN, *layer_names))
    n = len(names)
    return Search(names, np.ones(n, bool), np.zeros(0, int), np.zeros((n, 0)), np.zeros(n, int), [])


def observe(state: Search, steps_T, layers_SxTxL) -> Search:
    """Search the measurements of a chunk for jumps.

    Args:
      state: the search so far.
      steps_T: training steps of the new measurements.
      layers_SxTxL: dimensionality of each layer, the head last.

    Returns:
      A new Search; its jumps are in the order of their training steps.
    """
    layers_SxTxL = np.asarray(layers_SxTxL, float)
    # A network that consists of its head only has no D. Its value is not-a-number, which ends the
    # search of that series.
    d_SxT = layers_SxTxL[:, :, :-1].sum(2) / (layers_SxTxL.shape[2] - 1 or np.nan)
    each_SxTxM = np.concatenate([d_SxT[:, :, None], layers_SxTxL], 2)
    new_NxT = each_SxTxM.transpose(0, 2, 1).reshape(len(state.names), -1)
    new_NxT[~state.alive_N] = np.nan
    alive_N = state.alive_N & np.isfinite(new_NxT).all(1)
    steps_T = np.append(state.steps_T, steps_T)
    series_NxT = np.concatenate([state.series_NxT, new_NxT], 1)
    of_each, go_on_N = search_finite(series_NxT, steps_T, state.from_N)
    found = [
        {"seed": seed, "layer": layer, "step": jump.step, "size": jump.size, "score": jump.score}
        for (seed, layer), jumps in zip(state.names, of_each, strict=True)
        for jump in jumps
    ]
    found = sorted(state.found + found, key=lambda jump: jump["step"])
    from_N = np.where(alive_N, go_on_N, len(steps_T))
    past = max(from_N.min() - MEMORY, 0) if len(steps_T) > LEAST_LENGTH + MEMORY else 0
    return Search(state.names, alive_N, steps_T[past:], series_NxT[:, past:], from_N - past, found)


def pins(found: list[dict], most: int, window: int, last: int) -> dict[int, list[dict]]:
    """Choose the steps whose states are kept: before, at and after the strongest jumps.

    Args:
      found: jumps, as in `Search.found`.
      most: maximum number of different jumps.
      window: number of steps from a jump to the states before and after it. Jumps that are at most
        this far from a stronger one count as the same jump.
      last: step that training has reached. Later steps are not included yet.

    Returns:
      Training step -> reasons, one per jump, each with its `side` (`before`, `during`, `after`).
    """
    wanted = {}
    for group in strongest(found, most, window):
        at = group[0]["step"]
        for side, step in (("before", at - window), ("during", at), ("after", at + window)):
            reasons = [{"side": side, **jump} for jump in group]
            if step <= last:
                wanted[max(step, 0)] = wanted.get(max(step, 0), []) + reasons
    return dict(sorted(wanted.items()))
