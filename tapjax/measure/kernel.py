"""Empirical neural tangent kernel on probe examples."""

import jax
import jax.numpy as jnp

EXAMPLES = 128


def measure(model, loss, state, data, key) -> dict:
    """Compute the empirical tangent kernel, summed over outputs, and its alignment with the labels.

    Question: does the network learn by fitting a fixed kernel, or does it change the kernel (lazy
    or feature learning), and when (Fort et al. 2020, https://arxiv.org/abs/2010.15110)?

    Args:
      model: network, a `types.Model`; it is run in evaluation mode.
      loss: not used.
      state: TrainState of one seed.
      data: DeviceData; the first `EXAMPLES` probe examples are used.
      key: not used.

    Returns:
      `kernel [P, P]`, the inner products of the gradients of the outputs with respect to the
      parameters, summed over outputs; `trace`, the mean of its diagonal; `effective_rank`, the
      squared sum of its eigenvalues over the sum of their squares, from 1 to P; `top_share`, the
      share of the largest eigenvalue in their sum; and `alignment`, the cosine between the centred
      kernel and the centred kernel of the labels, from -1 to 1 (Cortes et al. 2012,
      https://jmlr.org/papers/v13/cortes12a.html).
    """
    del loss, key
    x_P, y_P = data.probe.x[:EXAMPLES], data.probe.y[:EXAMPLES]

    def output(params, x, c):
        return model.apply(params, state.stats, x[None])[0][0, c]

    def added(kernel_PxP, c):
        grads = jax.vmap(lambda x: jax.grad(output)(state.params, x, c))(x_P)
        rows = [g.reshape(len(g), -1) for g in jax.tree.leaves(grads)]
        return kernel_PxP + sum(g @ g.T for g in rows), None

    classes = model.apply(state.params, state.stats, x_P[:1])[0].shape[-1]
    zero = jnp.zeros((len(x_P), len(x_P)))
    kernel_PxP, _ = jax.lax.scan(added, zero, jnp.arange(classes))
    eigenvalues_P = jnp.linalg.eigvalsh(kernel_PxP)
    total = eigenvalues_P.sum()
    same_PxP = (y_P[:, None] == y_P[None]).astype(jnp.float32)
    return {
        "kernel": kernel_PxP,
        "trace": jnp.trace(kernel_PxP) / len(x_P),
        "effective_rank": total**2 / jnp.square(eigenvalues_P).sum(),
        "top_share": eigenvalues_P[-1] / total,
        "alignment": _cosine(_centred(kernel_PxP), _centred(same_PxP)),
    }


def _centred(kernel_PxP):
    rows = kernel_PxP.mean(0, keepdims=True)
    return kernel_PxP - rows - kernel_PxP.mean(1, keepdims=True) + rows.mean()


def _cosine(a, b):
    lengths = jnp.sqrt(jnp.vdot(a, a) * jnp.vdot(b, b))
    return jnp.vdot(a, b) / jnp.where(lengths > 0, lengths, 1.0)
