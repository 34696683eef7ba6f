"""The arrays of one chunk, as the run directory stores them (see tapjax/contract/layout.py)."""

import jax
import numpy as np


def chunk_arrays(cfg, first: int, last: int, record) -> dict[str, np.ndarray]:
    """What a compiled chunk recorded, by the names of the run directory.

    Args:
      cfg: the run's config.
      first: first step of the chunk.
      last: step after its last one.
      record: the chunk's Record, with a leading seed axis.

    Returns:
      `step`, `probe_step`, `scalar/NAME` [S, T] and `probe/NAME` [S, T', ...].
    """
    scalars, probe = jax.device_get(record)
    return {
        "step": np.arange(first, last, cfg.scalar_bin),
        "probe_step": np.arange(first, last, cfg.probe.every),
        **{f"scalar/{name}": value for name, value in scalars.items()},
        **{f"probe/{name}": value for name, value in probe.items()},
    }


def with_last_probe(arrays, step: int, measured) -> dict[str, np.ndarray]:
    """Append the measurement of the final state.

    Args:
      arrays: from `chunk_arrays`.
      step: the run's length.
      measured: probe of the final states, each [S, ...].

    Returns:
      New arrays.
    """
    longer = {"probe_step": np.append(arrays["probe_step"], step)}
    for name, value in measured.items():
        name = f"probe/{name}"
        longer[name] = np.concatenate([arrays[name], np.asarray(value)[:, None]], 1)
    return arrays | longer


def without_end(arrays, evaluated: bool) -> dict[str, np.ndarray]:
    """The arrays of a finished run's last chunk as they are in a longer run.

    Args:
      arrays: of the last record, with the probe of the final state.
      evaluated: whether a longer run is evaluated there, too.

    Returns:
      New arrays.
    """
    kept = {n: value for n, value in arrays.items() if evaluated or not n.startswith("eval")}
    kept["probe_step"] = kept["probe_step"][:-1]
    return kept | {n: value[:, :-1] for n, value in kept.items() if n.startswith("probe/")}


def evaluation_arrays(step: int, scores) -> dict[str, np.ndarray]:
    """Scores on the whole test split after a step.

    Args:
      step: training steps done.
      scores: name -> [S].

    Returns:
      `eval_step` [1] and `eval/NAME` [S, 1].
    """
    arrays = {f"eval/{name}": np.asarray(value)[:, None] for name, value in scores.items()}
    return arrays | {"eval_step": np.array([step])}


DIVERGENCE = ("step", "scalar/loss", "scalar/grad_norm")  # what tells it


def diverged_seeds(seeds, arrays) -> dict[str, int]:
    """Seeds with a loss or gradient that is not finite.

    Args:
      seeds: the run's seeds.
      arrays: with `DIVERGENCE`.

    Returns:
      Seed -> the first such step.
    """
    finite_SxT = np.isfinite(arrays["scalar/loss"]) & np.isfinite(arrays["scalar/grad_norm"])
    return {
        str(seed): int(arrays["step"][np.argmin(row)])
        for seed, row in zip(seeds, finite_SxT, strict=True)
        if not row.all()
    }
