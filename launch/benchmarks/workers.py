"""Sides of the comparisons of `launch.bench`, each in a process that runs once per input line.

    python -m launch.benchmarks.workers '{"side": "ours", "arch": "mlp_medium_5", ...}'

A worker prints a JSON line when it is ready. Then, for every line on stdin, it runs its steps and
prints the CPU and wall seconds that they took. It has one thread and is pinned to one core.
"""

import json
import os
import sys
import time

from launch.benchmarks import edm
from launch.benchmarks.floor import floor
from launch.benchmarks.inputs import BATCH, PROBE, build, repeated, synthetic
from launch.benchmarks.online import online, torch_online
from launch.benchmarks.plain_torch import peak_torch, torch_loop
from launch.benchmarks.recorded import recorded


def one_thread() -> None:
    """Restrict this process to one core and one thread, before any library starts its threads."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def ours(arch, steps, every=5, seeds=1, over_seeds="auto", **probe):
    """Make a function that runs our compiled chunk of training steps.

    Args:
      arch: architecture.
      steps: training steps per call.
      every: steps between measurements; 0 for no measurements.
      seeds: number of seeds.
      over_seeds: how the seeds run, see the field `over_seeds` of a config.
      **probe: fields of the config's `probe` that are changed.

    Returns:
      A function without arguments.
    """
    from tapjax.step import blocks

    made, data = build(arch, steps, **probe)
    over = blocks.OVER_SEEDS[blocks.choose_over_seeds(over_seeds, seeds, made.structure, BATCH)]
    measure = made.probe if every else (lambda state, data: {})
    every = every or 5
    chunk = blocks.make_chunk(blocks.make_block(made.step, measure, every), steps // every, over)
    return repeated(made, chunk, seeds, data)


def credit(method, steps, seeds=1, over_seeds="vmap", experiment="online", **sizes):
    """Make a function that runs steps of a credit experiment without measurements.

    Args:
      method: key of `configs.credit.methods.METHODS`.
      steps: training steps per call.
      seeds: number of seeds.
      over_seeds: how the seeds run: `vmap`, `map`, `loop` or `shard`.
      experiment: module of `configs.credit` that makes the config.
      **sizes: arguments of that config, such as `depth` and `width`.

    Returns:
      A function without arguments.
    """
    import importlib

    import numpy as np

    from tapjax.data.datasets import Arrays, load_arrays
    from tapjax.data.sampling import device_data
    from tapjax.recipes.credit import recipe
    from tapjax.step import blocks

    arguments = {"method": method} | sizes
    text = ",".join(f"{name}={value}" for name, value in arguments.items())
    cfg = importlib.import_module(f"configs.credit.{experiment}").get_config(text)
    if experiment == "online":
        x, y = synthetic("resnet18")
        mean, std = (np.full(3, value, np.float32) for value in (128, 70))
        arrays = Arrays("synthetic", x[PROBE:], y[PROBE:], x[:PROBE], y[:PROBE], 10, mean, std)
    else:
        arrays = load_arrays(cfg.data.name)
    made, data = recipe(cfg, arrays), device_data(arrays, PROBE)[0]
    block = blocks.make_block(made.step, lambda state, data: {}, steps)
    chunk = blocks.make_chunk(block, 1, blocks.OVER_SEEDS[over_seeds])
    return repeated(made, chunk, seeds, data)


def unrolled(arch, steps):
    """Make a function that calls five compiled steps at a time from Python, without a scan.

    XLA handles steps in this form best.

    Args:
      arch: architecture.
      steps: training steps per call, a multiple of five.

    Returns:
      A function without arguments.
    """
    import jax

    made, data = build(arch, steps)

    @jax.jit
    def five(state, data):
        for _ in range(5):
            state, scalars = made.step(state, data)
        return state, scalars

    state = jax.jit(made.init)(jax.random.key(0))

    def run():
        nonlocal state
        for _ in range(steps // 5):
            state, _ = five(state, data)
        jax.block_until_ready(state)

    return run


def plain_jax(arch, steps, every=5):
    """Make a plain JAX loop: a compiled step, and SVDs by NumPy of activations on the host.

    Args:
      arch: architecture.
      steps: training steps per call.
      every: steps between measurements.

    Returns:
      A function without arguments.
    """
    import jax
    import numpy as np

    from tapjax.measure.probes import pooled

    made, data = build(arch, steps)
    step, apply = jax.jit(made.step), jax.jit(made.model.apply)
    state = jax.jit(made.init)(jax.random.key(0))

    def run():
        nonlocal state
        for i in range(steps):
            if i % every == 0:
                _, hidden, _ = apply(state.params, state.stats, data.probe.x)
                for layer in hidden:
                    matrix = np.asarray(pooled(layer, "legacy"))
                    np.linalg.svd(matrix, compute_uv=False)
            state, scalars = step(state, data)
            float(scalars["loss"]), float(scalars["grad_norm"])

    return run


def peak_xla(steps, m, k, n):
    """Make a function that computes 100 products [m, k] x [k, n] per step by XLA."""
    import jax
    import jax.numpy as jnp

    a, b = jnp.ones((m, k)), jnp.ones((k, n))

    @jax.jit
    def products(a, b):
        def one(c, _):
            return (a + 1e-9 * c[0, 0]) @ b, None

        return jax.lax.scan(one, jnp.zeros((m, n)), None, 100 * steps)[0]

    return lambda: jax.block_until_ready(products(a, b))


SIDES = {
    "ours": ours,
    "unrolled": unrolled,
    "torch": torch_loop,
    "plain_jax": plain_jax,
    "floor": floor,
    "peak_xla": peak_xla,
    "peak_torch": peak_torch,
    "credit": credit,
    "recorded": recorded,
    "online": online,
    "torch_online": torch_online,
    "edm": edm.ours,
    "pyedm": edm.pyedm,
}


def main() -> None:
    """Build the side that the JSON argument describes and serve it."""
    one_thread()
    task = json.loads(sys.argv[1])
    run = SIDES[task.pop("side")](**task)
    run()  # compiles, and fills every cache
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        result = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
