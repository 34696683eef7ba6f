"""The least that a loop which trains and measures has to do."""

from launch.benchmarks.inputs import BATCH, PROBE, build


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

    from tapjax.run.memory import inner_programs

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
            total += sum(map(count, inner_programs(equation)))
        return total

    return float(count(jax.make_jaxpr(fn)(*args).jaxpr))
