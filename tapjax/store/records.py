"""Arrays of one chunk in the form of the run directory (see tapjax/contract/layout.py)."""

import numpy as np

from tapjax.types import Record, tree_bytes


def size(record: Record, periods: dict[str, int], blocks: int) -> int:
    """Return the number of bytes that a run records.

    Args:
      record: shapes of the Record of one block, over all seeds, with all measures.
      periods: name of a measure -> number of blocks between two measurements.
      blocks: number of blocks.

    Returns:
      Number of bytes.
    """
    every = tree_bytes(record._replace(measures={})) * blocks
    return every + sum(tree_bytes(record.measures[n]) * -(-blocks // p) for n, p in periods.items())


def chunk_arrays(cfg, first: int, last: int, record) -> dict[str, np.ndarray]:
    """Name the arrays that a compiled chunk recorded as in the run directory.

    Args:
      cfg: the run's config.
      first: first step of the chunk.
      last: step after the last step of the chunk.
      record: the chunk's Record, with a leading seed axis. Its probe may include the measurement of
        the state after the chunk.

    Returns:
      Dict with `step` [T], `probe_step` [T'], `scalar/NAME` [S, T] and `probe/NAME` [S, T', ...].
    """
    measured = len(next(iter(record.probe.values()))[0])
    return {
        "step": np.arange(first, last, cfg.scalar_bin),
        "probe_step": first + cfg.probe.every * np.arange(measured),
        **{f"scalar/{name}": value for name, value in record.scalars.items()},
        **{f"probe/{name}": value for name, value in record.probe.items()},
    }


def without_end(arrays, evaluated: bool) -> dict[str, np.ndarray]:
    """Convert the arrays of a finished run's last chunk to those of a longer run.

    Args:
      arrays: arrays of the last record, which include the probe of the final state.
      evaluated: whether the longer run is also evaluated at the end of this chunk.

    Returns:
      A new dict without the probe of the final state, and without the evaluation if the longer run
      has none there.
    """
    kept = {n: value for n, value in arrays.items() if evaluated or not n.startswith("eval")}
    kept["probe_step"] = kept["probe_step"][:-1]
    return kept | {n: value[:, :-1] for n, value in kept.items() if n.startswith("probe/")}


def evaluation_arrays(step: int, scores) -> dict[str, np.ndarray]:
    """Name the scores on the whole test split as in the run directory.

    Args:
      step: number of training steps done.
      scores: name -> score of each seed [S].

    Returns:
      Dict with `eval_step` [1] and `eval/NAME` [S, 1].
    """
    arrays = {f"eval/{name}": np.asarray(value)[:, None] for name, value in scores.items()}
    return arrays | {"eval_step": np.array([step])}


DIVERGENCE = ("step", "scalar/loss", "scalar/grad_norm")  # arrays that `diverged_seeds` needs


def diverged_seeds(seeds, arrays) -> dict[str, int]:
    """Find the seeds with a loss or gradient that is not finite.

    Args:
      seeds: the run's seeds [S].
      arrays: arrays of a record, at least those in `DIVERGENCE`.

    Returns:
      Seed -> first step at which its loss or gradient is not finite.
    """
    finite_SxT = np.isfinite(arrays["scalar/loss"]) & np.isfinite(arrays["scalar/grad_norm"])
    return {
        str(seed): int(arrays["step"][np.argmin(row)])
        for seed, row in zip(seeds, finite_SxT, strict=True)
        if not row.all()
    }
