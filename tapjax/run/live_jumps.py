"""The jump detector while the network trains: which jumps there are, which steps to keep."""

from typing import NamedTuple

import numpy as np

from tapjax.contract.detector import LEAST_LENGTH, MEAN, MEMORY, search_finite, strongest


class Search(NamedTuple):
    """What the detector still needs of each series [N, T], and the jumps that it found."""

    names: tuple[tuple[int, str], ...]  # seed and layer of each series
    alive_N: np.ndarray  # not so those that were not finite once
    steps_T: np.ndarray
    series_NxT: np.ndarray
    from_N: np.ndarray
    found: list[dict]


def start(seeds, layer_names) -> Search:
    """A search that has seen nothing.

    Args:
      seeds: the run's seeds.
      layer_names: measured layers, the head last.

    Returns:
      A Search over every layer and D, their mean without the head, of each seed.
    """
    names = tuple((seed, layer) for seed in seeds for layer in (MEAN, *layer_names))
    n = len(names)
    return Search(names, np.ones(n, bool), np.zeros(0, int), np.zeros((n, 0)), np.zeros(n, int), [])


def observe(state: Search, steps_T, layers_SxTxL) -> Search:
    """Search what a chunk measured.

    Args:
      state: the search so far.
      steps_T: training steps of the new measurements.
      layers_SxTxL: dimensionality of each layer, the head last.

    Returns:
      A new Search, with what it found in order of the training steps.
    """
    layers_SxTxL = np.asarray(layers_SxTxL, float)
    # Of a network that is nothing but its head there is no D: not-a-number, which is left out.
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
    """The steps whose states are worth keeping: before, at and after the strongest jumps.

    Args:
      found: jumps.
      most: at most so many different ones.
      window: steps before and after; jumps that are closer than that count as one.
      last: the step that training has reached; what lies beyond it is not asked for yet.

    Returns:
      Step -> why: one entry a jump, with its `side`.
    """
    wanted = {}
    for group in strongest(found, most, window):
        at = group[0]["step"]
        for side, step in (("before", at - window), ("during", at), ("after", at + window)):
            reasons = [{"side": side, **jump} for jump in group]
            if step <= last:
                wanted[max(step, 0)] = wanted.get(max(step, 0), []) + reasons
    return dict(sorted(wanted.items()))
