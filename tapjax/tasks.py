"""Synthetic tasks by name, with nothing to download."""

import numpy as np

MODULAR = "modular"
DEFAULTS = {"p": 59, "train": 50}
LEAST_P = 31  # below, the transformer would cut the two operands into more than two tokens


def is_task(name: str) -> bool:
    """Whether a data set's name is that of a synthetic task."""
    return name.partition(":")[0] == MODULAR


def modular_addition(name: str) -> tuple[np.ndarray, ...]:
    """Addition modulo a prime: all pairs (a, b) and a + b mod p (Power et al. 2022).

    The operands are two one-hot rows; a transformer reads them as two tokens, an MLP as one
    vector. A fixed random share of all pairs trains, the rest tests: a network can fit the first
    by heart long before it can do the second ("grokking").

    Args:
      name: `modular` or `modular:p=59,train=50`: the prime, and per cent of pairs to train on.

    Returns:
      (x, y, x_test, y_test) with x as uint8 [N, 2, p, 1].

    Raises:
      ValueError: unknown or impossible settings.
    """
    settings = _settings(name)
    p, train = settings["p"], settings["train"]
    if p < LEAST_P or any(p % d == 0 for d in range(2, int(p**0.5) + 1)):
        raise ValueError(f"{name!r}: p={p} must be a prime of at least {LEAST_P}")
    if not 1 <= train <= 99:
        raise ValueError(f"{name!r}: train={train} must be a percentage between 1 and 99")
    pairs = np.stack(np.divmod(np.random.default_rng(0).permutation(p * p), p), 1)
    x = np.eye(p, dtype=np.uint8)[pairs][..., None]
    y = (pairs.sum(1) % p).astype(np.int32)
    cut = p * p * train // 100
    return x[:cut], y[:cut], x[cut:], y[cut:]


def _settings(name):
    parts = [part.partition("=") for part in name.partition(":")[2].split(",") if part]
    try:
        given = {key: int(value) for key, _, value in parts}
    except ValueError:
        given = {"": 0}
    if set(given) - set(DEFAULTS):
        raise ValueError(f"{name!r}: write {MODULAR}:p=59,train=50")
    return DEFAULTS | given
