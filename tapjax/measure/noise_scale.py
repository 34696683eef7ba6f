"""Noise of the gradient, from the gradients of single training examples."""

import jax
import jax.numpy as jnp

from tapjax.measure.moments import moment
from tapjax.measure.training_examples import training_examples
from tapjax.types import Batch

EXAMPLES = 512
PART = 32  # examples whose gradients are in memory at the same time


def measure(model, loss, state, data, key) -> dict:
    """Measure the noise scale of the gradient, and the signal-to-noise ratio of each matrix.

    Question: does the gradient of a batch point in the direction of the gradient of the training
    loss? The noise scale is the batch size at which noise and gradient are equally large
    (McCandlish et al. 2018, https://arxiv.org/abs/1812.06162, the `simple` one).

    Args:
      model: network, a `types.Model`; it is run in evaluation mode.
      loss: loss per example, `(outputs, batch) -> [B]`.
      state: TrainState of one seed.
      data: DeviceData; `EXAMPLES` training examples are used.
      key: not used.

    Returns:
      `square`, an unbiased estimate of the squared norm of the expected gradient, which may be
      below 0; `trace`, that of the trace of the covariance of the gradients of single examples;
      `noise_scale`, trace / square in examples, infinite if the square is not above 0;
      `signal [W]`, for each weight matrix the norm of the mean gradient divided by the standard
      deviation of the gradient of one example; and `halves`, the cosine between the mean gradients
      of the first and the second half of the examples (interleaved). With an optimizer that has
      momentum also `along_moment`, the cosine between the mean gradient and the running mean of
      earlier gradients: above 0 while training moves on, below 0 where it oscillates.
    """
    del key
    batch = training_examples(data, EXAMPLES)
    n = len(batch.y) // 2 * 2
    parts = -(-n // 2 // PART)

    def gradient(x, y):
        def cost(params):
            outputs, _, _ = model.apply(params, state.stats, x[None])
            return loss(outputs, Batch(x[None], y[None]))[0]

        return jax.tree.leaves(jax.grad(cost)(state.params))

    def summed(total, examples):
        x, y, weight = examples
        grads = jax.vmap(gradient)(x, y)
        first = [t + jnp.tensordot(weight, g, 1) for t, g in zip(total[0], grads, strict=True)]
        square = [jnp.square(g).reshape(len(g), -1).sum(1) @ weight for g in grads]
        return (first, [t + s for t, s in zip(total[1], square, strict=True)]), None

    def of_half(start):
        x, y = batch.x[start:n:2], batch.y[start:n:2]
        split = [_padded(a, parts) for a in (x, y, jnp.ones(n // 2))]
        leaves = jax.tree.leaves(state.params)
        zero = ([jnp.zeros_like(w) for w in leaves], [jnp.zeros(()) for _ in leaves])
        return jax.lax.scan(summed, zero, split)[0]

    (a, a2), (b, b2) = of_half(0), of_half(1)
    mean = [(u + v) / n for u, v in zip(a, b, strict=True)]
    square_W = jnp.stack([jnp.vdot(g, g) for g in mean])
    trace_W = (jnp.stack([u + v for u, v in zip(a2, b2, strict=True)]) / n - square_W) * n / (n - 1)
    trace = trace_W.sum()
    square = square_W.sum() - trace / n
    matrices = [i for i, w in enumerate(jax.tree.leaves(state.params)) if w.ndim > 1]
    signal_W = jnp.sqrt(square_W / jnp.where(trace_W > 0, trace_W, jnp.inf))
    found = {
        "square": square,
        "trace": trace,
        "noise_scale": jnp.where(square > 0, trace / jnp.where(square > 0, square, 1.0), jnp.inf),
        "signal": signal_W[jnp.array(matrices)],
        "halves": _cosine(a, b),
    }
    past = moment(state.opt, state.params, ("mu", "trace"))
    if past is not None:
        found["along_moment"] = _cosine(mean, jax.tree.leaves(past))
    return found


def _padded(array, parts):
    """Cut an array into equal parts; examples that are added at the end are zero."""
    size = -(-len(array) // parts)
    padding = [(0, parts * size - len(array))] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(parts, size, *array.shape[1:])


def _cosine(a, b):
    def product(a, b):
        return sum(jnp.vdot(u, v) for u, v in zip(a, b, strict=True))

    lengths = jnp.sqrt(product(a, a) * product(b, b))
    return product(a, b) / jnp.where(lengths > 0, lengths, 1.0)
