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
from launch.benchmarks.inputs import BATCH, PROBE, repeated, synthetic
from launch.benchmarks.online import online, torch_online
from launch.benchmarks.plain_torch import peak_torch, torch_loop


def one_thread() -> None:
    """Restrict this process to one core and one thread, before any library starts its threads."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def build(arch, steps, size=PROBE, **probe):
    """Build the recipe and the data of a benchmark run, as `loop.run` would build them.

    Args:
      arch: architecture.
      steps: training steps.
      size: number of probe examples.
      **probe: fields of the config's `probe` that are changed.

    Returns:
      (recipe, data on the device).
    """
    import numpy as np

    from tapjax.config import schema
    from tapjax.data.datasets import Arrays
    from tapjax.data.sampling import device_data
    from tapjax.recipes.tap import recipe

    cfg = schema.defaults()
    cfg.model.name, cfg.steps = arch, steps
    cfg.probe.update({"tokens": "legacy", "centred": False, **probe})
    x, y = synthetic(arch)
    mean, std = (np.full(x.shape[-1], value, np.float32) for value in (128, 70))
    arrays = Arrays("synthetic", x[PROBE:], y[PROBE:], x[:size], y[:size], 10, mean, std)
    return recipe(cfg, arrays), device_data(arrays, size)[0]


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
      method: key of `configs.credit.methods.METHODS`, or `forward_gradient`.
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

    gradient_forward = method == "forward_gradient"
    arguments = {"method": "bp" if gradient_forward else method} | sizes
    text = ",".join(f"{name}={value}" for name, value in arguments.items())
    cfg = importlib.import_module(f"configs.credit.{experiment}").get_config(text)
    if experiment == "online":
        x, y = synthetic("resnet18")
        mean, std = (np.full(3, value, np.float32) for value in (128, 70))
        arrays = Arrays("synthetic", x[PROBE:], y[PROBE:], x[:PROBE], y[:PROBE], 10, mean, std)
    else:
        arrays = load_arrays(cfg.data.name)
    made, data = recipe(cfg, arrays), device_data(arrays, PROBE)[0]
    step = forward_gradient(made, cfg) if gradient_forward else made.step
    block = blocks.make_block(step, lambda state, data: {}, steps)
    chunk = blocks.make_chunk(block, 1, blocks.OVER_SEEDS[over_seeds])
    return repeated(made, chunk, seeds, data)


def forward_gradient(made, cfg):
    """Make a step from the derivative along one random direction in weight space.

    The method is that of Baydin et al. 2022, https://arxiv.org/abs/2202.08587.

    Args:
      made: recipe of the credit family.
      cfg: its config.

    Returns:
      A function (state, data) -> (next state, scalars).
    """
    import jax
    import jax.numpy as jnp

    from tapjax.data.sampling import make_sampler
    from tapjax.step.losses import cross_entropy
    from tapjax.step.optimizers import make_optimizer
    from tapjax.step.step import make_step
    from tapjax.types import Proposal

    sample = make_sampler(cfg.data.batch_size, "epoch", False)

    def propose(state, data):
        batch = sample(state.key, state.step, data)
        key = jax.random.fold_in(state.key, state.step)
        leaves, tree = jax.tree.flatten(state.params)
        keys = jax.random.split(key, len(leaves))
        drawn = [jax.random.normal(k, w.shape) for k, w in zip(keys, leaves, strict=True)]
        v = jax.tree.unflatten(tree, drawn)

        def loss(params):
            return cross_entropy(made.model.apply(params, {}, batch.x)[0], batch.y).mean()

        value, along = jax.jvp(loss, (state.params,), (v,))
        grads = jax.tree.map(lambda d: along * d, v)
        return Proposal(grads, state.rule, {}, {"loss": value, "accuracy": jnp.float32(0)})

    optimizer = make_optimizer(cfg.optimizer, cfg.optimizer.lr)
    inner = make_step(propose, optimizer)

    def step(state, data):
        # The speed does not depend on the optimizer's moments, so they restart in every step.
        fresh = state._replace(opt=optimizer.init(state.params))
        after, scalars = inner(fresh, data)
        return after._replace(opt=state.opt), scalars

    return step


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


def floor(arch, steps, every=5):
    """Make a function that does only the least that a loop of this kind has to do.

    Per step, these are matrix products with as many operations as the step, and Adam's reads and
    writes. Every `every` steps, they are the products of the forward pass over the probe, and the
    eigenvalues of the Gram matrices. The shapes of the products are those that XLA is fastest for.

    Args:
      arch: architecture.
      steps: training steps per call.
      every: steps between measurements; 0 for no measurements.

    Returns:
      A function without arguments.
    """
    import jax
    import jax.numpy as jnp

    from tapjax.measure.probes import as_matrix, pooled
    from tapjax.measure.singular_values import spectra

    made, data = build(arch, steps)
    state = jax.jit(made.init)(jax.random.key(0))
    x = jax.ShapeDtypeStruct((BATCH, *data.x.shape[1:]), jnp.float32)
    forward = matmul_operations(lambda x: made.model.apply(state.params, state.stats, x)[0], x)
    a = jnp.ones((1024, 1024))
    _, hidden, _ = made.model.apply(state.params, state.stats, data.probe.x)
    layers = [as_matrix(pooled(h, "legacy"), 2048) for h in hidden]
    every_layer = jax.jit(lambda layers: [spectra(h, False) for h in layers])
    weights = jnp.ones(sum(w.size for w in jax.tree.leaves(state.params)))

    @jax.jit
    def multiply(a, flops):
        return jax.lax.fori_loop(0, flops, lambda _, b: 1e-3 * (a @ b), a)

    @jax.jit
    def adam(w, m, v, g):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return w - 1e-3 * m / (jnp.sqrt(v) + 1e-8), m, v

    probed = steps / every * PROBE / BATCH if every else 0
    products = round((3 * steps + probed) * forward / (2 * 1024**3))
    held = (weights, weights, weights)

    def run():
        nonlocal held
        jax.block_until_ready(multiply(a, products))
        for _ in range(steps):
            held = adam(*held, weights)
        for _ in range(steps // every if every else 0):
            jax.block_until_ready(every_layer(layers))
        jax.block_until_ready(held)

    return run


def matmul_operations(fn, *args):
    """Count the floating-point operations of all products and convolutions in a function.

    Args:
      fn: function.
      *args: arrays or their shapes.

    Returns:
      Number of operations, two per multiplication with addition.
    """
    import jax
    import numpy as np
    from jax.extend.core import jaxprs_in_params

    def count(jaxpr):
        total = 0
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                inner = np.prod([equation.invars[0].aval.shape[i] for i in contracted])
                total += 2 * inner * equation.outvars[0].aval.size
            elif equation.primitive.name == "conv_general_dilated":
                kernel = equation.invars[1].aval.shape  # height, width, inputs, outputs
                total += 2 * np.prod(kernel[:-1]) * equation.outvars[0].aval.size
            total += sum(map(count, jaxprs_in_params(equation.params)))
        return total

    return float(count(jax.make_jaxpr(fn)(*args).jaxpr))


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


SIDES = {
    "ours": ours,
    "unrolled": unrolled,
    "torch": torch_loop,
    "plain_jax": plain_jax,
    "floor": floor,
    "peak_xla": peak_xla,
    "peak_torch": peak_torch,
    "credit": credit,
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
