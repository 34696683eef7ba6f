"""Cost of training and of measurements on an accelerator, in wall time."""

import statistics
import time

from launch.benchmarks.accuracy import largest_errors, probe_matrices
from launch.benchmarks.floor import matmul_operations
from launch.benchmarks.inputs import BATCH, build

ARCHITECTURES = {"mlp_verywide": 200, "transformer_shallow": 100, "resnet18": 40}  # steps per turn
EVERY = (5, 20, 100)  # steps between two measurements
SEEDS = (1, 8, 32)
PRODUCT = 8192  # rows and columns of the matrices whose product gives the peak


def accelerator(turns: int, architectures=None, seeds=SEEDS, product: int = PRODUCT) -> list[dict]:
    """Measure steps with and without measurements, seeds together, and spectra.

    Args:
      turns: number of turns; times are medians over them.
      architectures: architecture -> steps per turn, a multiple of 100; None for `ARCHITECTURES`.
      seeds: numbers of seeds that are trained together by vmap.
      product: rows and columns of the matrices whose product gives the peak speed.

    Returns:
      One row per measurement: `what`, `ms` per step and seed (None for errors), `relative` to what
      the text names, and `error`, the largest relative error of a dimensionality.
    """
    from tapjax.measure.singular_values import spectra

    peak = _peak(turns, product)
    rows = [_row(f"product of {product} x {product} in float32", peak["ms"])]
    for arch, steps in (architectures or ARCHITECTURES).items():
        rows += _overhead(arch, steps, turns, peak["flops"]) + _seeds(arch, steps, turns, seeds)
    errors = largest_errors(spectra, list(probe_matrices()))
    return rows + [_row(f"{n}: largest relative error", error=e) for n, e in errors.items()]


def _row(what, ms=None, relative=None, error=None):
    return {"what": what, "ms": ms, "relative": relative, "error": error}


def _median_ms(run, steps, turns):
    """Return the median wall time per step of a function that runs some steps."""
    run()  # compiles
    times = []
    for _ in range(turns):
        begun = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begun) / steps)
    return statistics.median(times)


def _peak(turns, size):
    import jax
    import jax.numpy as jnp

    a = jnp.ones((size, size))
    multiply = jax.jit(lambda a: a @ a)
    ms = _median_ms(lambda: jax.block_until_ready(multiply(a)), 1, turns)
    return {"ms": ms, "flops": 2 * size**3 / (ms / 1e3)}


def _overhead(arch, steps, turns, peak):
    """Compare cadences of the default probe with no measurement, and the step with the peak."""
    import jax

    from launch.benchmarks.workers import ours

    plain = _median_ms(ours(arch, steps, every=0), steps, turns)
    made, data = build(arch, steps)
    state = jax.jit(made.init)(jax.random.key(0))
    x = jax.ShapeDtypeStruct((BATCH, *data.x.shape[1:]), "float32")
    forward = matmul_operations(lambda x: made.model.apply(state.params, state.stats, x)[0], x)
    share = 3 * forward / (plain / 1e3) / peak
    rows = [_row(f"{arch}: step without measurements (relative: share of the peak)", plain, share)]
    for every in EVERY:
        probe = {"size": 512, "tokens": "rows", "centred": True}
        ms = _median_ms(ours(arch, steps, every=every, **probe), steps, turns)
        rows.append(_row(f"{arch}: measured every {every} (relative to none)", ms, ms / plain))
    return rows


def _seeds(arch, steps, turns, counts):
    from launch.benchmarks.workers import ours

    times = {
        n: _median_ms(ours(arch, steps, every=0, seeds=n, over_seeds="vmap"), steps * n, turns)
        for n in counts
    }
    alone = times[counts[0]]
    return [
        _row(f"{arch}: {n} seeds by vmap, per seed (relative: one seed / it)", ms, alone / ms)
        for n, ms in times.items()
    ]
