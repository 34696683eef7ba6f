"""Errors of the measured dimensionalities against a float64 SVD."""

from launch.benchmarks.inputs import build


def metrics(turns: int) -> list[dict]:
    """Measure the largest relative error of each dimensionality against a float64 SVD.

    Both methods of singular_values.py are measured: Gram matrices in float64, which a CPU uses (if
    this runs on a CPU), and the float32 SVD, which accelerators use.

    Args:
      turns: not used.

    Returns:
      One row per method and dimensionality.
    """
    del turns
    from tapjax.measure.singular_values import by_svd, spectra

    matrices = list(probe_matrices())
    return [
        {
            "what": f"{name}, {way}: largest relative error over {len(matrices)} matrices",
            "goal": goal,
            "error": error,
        }
        for way, of, goal in (("here", spectra, "<= 2e-6"), ("float32 SVD", by_svd, None))
        for name, error in largest_errors(of, matrices).items()
    ]


def largest_errors(of, matrices) -> dict[str, float]:
    """Compute the largest relative error of each dimensionality over matrices.

    Args:
      of: function with the arguments and results of `singular_values.spectra`.
      matrices: matrices to measure.

    Returns:
      Name of the dimensionality -> error.
    """
    import jax
    import numpy as np

    from tapjax.measure.probes import spectral_metrics

    measure, worst = jax.jit(lambda a: spectral_metrics(of(a, False)[0])), {}
    for a in matrices:
        exact = exact_dimensions(np.linalg.svd(a.astype(float), compute_uv=False))
        for name, value in measure(a).items():
            error = float(abs(float(value) / exact[name] - 1))
            worst[name] = max(worst.get(name, 0.0), error)
    return worst


def probe_matrices():
    """Yield activations before and after training, and matrices that are hard to measure."""
    import jax
    import numpy as np

    from tapjax.measure.probes import as_matrix, pooled

    for arch in ("mlp_medium_5", "mlp_verywide", "cnn_medium", "transformer_shallow"):
        made, data = build(arch, 100, size=320)
        state = jax.jit(made.init)(jax.random.key(0))
        step = jax.jit(made.step)
        for steps in (0, 100):
            for _ in range(steps):
                state, _ = step(state, data)
            _, hidden, _ = jax.jit(made.model.apply)(state.params, state.stats, data.probe.x)
            yield from (np.asarray(as_matrix(pooled(h, "rows"), 2048)) for h in hidden)
    rng = np.random.default_rng(0)
    rank_8 = rng.standard_normal((320, 8)) @ rng.standard_normal((8, 512))
    u, _ = np.linalg.qr(rng.standard_normal((320, 64)))
    steep = (u * np.logspace(0, -7, 64)) @ np.linalg.qr(rng.standard_normal((64, 64)))[0]
    shifted = rng.standard_normal((320, 64)) + 300
    constant = np.ones((512, 512))
    for a in (rank_8, constant, steep, shifted, 1e-22 * shifted, 1e18 * steep):
        yield a.astype(np.float32)


def exact_dimensions(s) -> dict[str, float]:
    """Compute the metrics of `probes.spectral_metrics` of singular values in float64."""
    import numpy as np

    energy = np.square(s).sum()
    return {
        "stable_rank": energy / s[0] ** 2,
        "participation_ratio": s.sum() ** 2 / energy,
        "effective_rank_90": np.sum(np.cumsum(s**2) / energy < 0.9) + 1,
        "nuclear_norm_ratio": s.sum() / s[0],
        "covariance_participation_ratio": energy**2 / np.sum(s**4),
    }
