"""Dimensionalities of activations in NumPy, equal to those of `tapjax.measure.probes`.

Spectra are computed in float64, from the smaller Gram matrix.
"""

import numpy as np

from tapjax.contract.layout import DIMENSIONS

ENERGY = 0.9
ROWS = 2048  # maximum number of rows where tokens are kept


def spectral_metrics(s_R) -> dict[str, float]:
    """Compute the dimensionalities of one spectrum; all are zero for the zero matrix.

    Args:
      s_R: singular values in any order.

    Returns:
      Dict with one number for each of `DIMENSIONS`; `tapjax.measure.probes.spectral_metrics`
      defines them.

    Examples:
      >>> spectral_metrics(np.array([2.0, 2.0, 0.0]))["participation_ratio"]
      2.0
    """
    s_R = np.sort(np.asarray(s_R, float))[::-1]
    if not s_R[0] > 0:
        return dict.fromkeys(DIMENSIONS, 0.0 if s_R[0] == 0 else np.nan)
    s_R = s_R / s_R[0]
    power_R = np.square(s_R)
    energy, nuclear = power_R.sum(), s_R.sum()
    needed = min(int((np.cumsum(power_R) / energy < ENERGY).sum()) + 1, len(s_R))
    values = (energy, nuclear**2 / energy, needed, nuclear, energy**2 / np.square(power_R).sum())
    return dict(zip(DIMENSIONS, map(float, values), strict=True))


def matrix(activations, channels: str | None = "last") -> np.ndarray:
    """Return activations as a matrix with examples or tokens as rows.

    Args:
      activations: [N, D], tokens [N, Q, D], or images [N, H, W, C], which are averaged over space.
      channels: position of the channels of images, `last` or `first` ([N, C, H, W]); None refuses
        images.

    Returns:
      Matrix [N, D]. Tokens are rows, [N * Q, D], at most `ROWS` of them, chosen at random once.

    Raises:
      ValueError: if the activations have another number of axes, or no values.
    """
    if activations.ndim not in (2, 3, 4) or not activations.size:
        raise ValueError(f"shape {activations.shape} is not [N, D], [N, Q, D] or [N, H, W, C]")
    if activations.ndim == 4 and channels is None:
        raise ValueError(
            f"shape {activations.shape} may be images: pass channels='first' or 'last' to the "
            "Recorder, or average over space"
        )
    if activations.ndim == 4:
        return activations.mean((2, 3) if channels == "first" else (1, 2), dtype=float)
    if activations.ndim == 2:
        return activations
    flat = activations.reshape(-1, activations.shape[-1])
    chosen = np.random.default_rng(0).permutation(len(flat))[:ROWS]
    return flat[np.sort(chosen)] if ROWS < len(flat) else flat


def dimensions(a_NxD, centred: bool = True) -> dict[str, float]:
    """Compute the dimensionalities of one layer.

    Args:
      a_NxD: activations of one layer as a matrix.
      centred: whether to measure the activations without their column means, too.

    Returns:
      Dict with `DIMENSIONS` and, with `centred_` before their names, those of the centred
      activations; not-a-number if an activation is not finite.

    Examples:
      >>> round(dimensions(np.eye(4))["participation_ratio"], 6)
      4.0
    """
    a_NxD = np.asarray(a_NxD, float)
    names = [*DIMENSIONS, *(f"centred_{name}" for name in DIMENSIONS if centred)]
    if not np.isfinite(a_NxD).all():
        return dict.fromkeys(names, np.nan)
    measured = (a_NxD, a_NxD - a_NxD.mean(0)) if centred else (a_NxD,)
    found = [value for a in measured for value in spectral_metrics(_singular_values(a)).values()]
    return dict(zip(names, found, strict=True))


def _singular_values(a_NxD):
    scale = np.abs(a_NxD).max()
    a_NxD = a_NxD / (scale or 1.0)  # squares of huge or tiny values would overflow or vanish
    gram = a_NxD.T @ a_NxD if a_NxD.shape[1] <= len(a_NxD) else a_NxD @ a_NxD.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
