"""Local learning coefficient, estimated by chains of stochastic gradient Langevin dynamics."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from tapjax.measure.training_examples import training_examples
from tapjax.types import Batch

EXAMPLES = 1024
BATCH = 128
CHAINS = 4
DRAWS = 200  # of each chain, after as many that are discarded
STEP = 1e-4  # of Langevin dynamics
LOCALISATION = 100.0  # strength of the attraction to the parameters of the network


def measure(model, loss, state, data, key) -> dict:
    """Estimate the local learning coefficient of the training loss at the parameters.

    Question: how degenerate is the minimum, that is, how many parameters does the network really
    use? A network with d parameters at a regular minimum has d / 2, a degenerate one less (Lau et
    al. 2023, https://arxiv.org/abs/2308.12108). Compare values of one network over training, not
    networks: directions whose curvature is below `LOCALISATION` log(n) / n count only in part.

    Args:
      model: network, a `types.Model`; it is run in evaluation mode.
      loss: loss per example, `(outputs, batch) -> [B]`.
      state: TrainState of one seed.
      data: DeviceData; `EXAMPLES` training examples are used.
      key: random key of the chains.

    Returns:
      `llc`, n beta (mean loss of the chains - loss at the parameters) with beta = 1 / log n, which
      is below 0 if the parameters are not near a minimum; `error`, its standard error over the
      chains; `drift`, the mean loss of the second half of the draws less that of the first half, in
      the same units, which is near 0 for chains that have converged. All are not-a-number if a
      chain diverges: its steps are too long for the curvature.
    """
    batch = training_examples(data, EXAMPLES)
    n = len(batch.y)
    at, unravel = ravel_pytree(state.params)

    def cost(flat, index):
        outputs, _, _ = model.apply(unravel(flat), state.stats, batch.x[index])
        return loss(outputs, Batch(batch.x[index], batch.y[index])).mean()

    def on_part(flat, key):
        return cost(flat, jax.random.choice(key, n, (min(BATCH, n),), replace=False))

    whole = jnp.split(jnp.arange(n), list(range(BATCH, n, BATCH)))
    here = sum(cost(at, part) * len(part) for part in whole) / n
    temperature = n / np.log(n)
    losses_CxT = langevin(on_part, at, key, temperature, CHAINS, DRAWS)
    return coefficient(losses_CxT, here, temperature)


def langevin(
    cost, at, key, temperature, chains: int, draws: int, step=STEP, localisation=LOCALISATION
):
    """Run chains of stochastic gradient Langevin dynamics around a point.

    Their stationary density is proportional to exp(-temperature cost(w) - localisation / 2
    |w - at|^2), if the steps are short.

    Args:
      cost: function (parameters [D], key) -> loss of a random part of the examples.
      at: parameters [D] at which all chains start.
      key: random key.
      temperature: n beta, the inverse temperature.
      chains: number of chains.
      draws: number of recorded draws; as many are discarded before.
      step: step of the dynamics.
      localisation: strength of the attraction to `at`.

    Returns:
      Losses [chains, draws] of the parts that the draws saw.
    """
    value = jax.value_and_grad(cost)

    def move(w, key):
        part, noise = jax.random.split(key)
        found, grad = value(w, part)
        force = temperature * grad + localisation * (w - at)
        moved = w - step / 2 * force + step**0.5 * jax.random.normal(noise, w.shape, w.dtype)
        return moved, found

    def chain(key):
        return jax.lax.scan(move, at, jax.random.split(key, 2 * draws))[1][draws:]

    return jax.lax.map(chain, jax.random.split(key, chains))


def coefficient(losses_CxT, here, temperature) -> dict:
    """Compute the local learning coefficient from the losses of chains, see `measure`.

    Args:
      losses_CxT: losses of the draws of each chain.
      here: loss at the parameters.
      temperature: n beta.

    Returns:
      Dict with `llc`, `error` and `drift`.
    """
    each_C = temperature * (losses_CxT.mean(1) - here)
    half = losses_CxT.shape[1] // 2
    drift = temperature * (losses_CxT[:, half:].mean() - losses_CxT[:, :half].mean())
    found = {"llc": each_C.mean(), "error": each_C.std(ddof=1) / len(each_C) ** 0.5, "drift": drift}
    finite = jnp.isfinite(losses_CxT).all()
    return {name: jnp.where(finite, value, jnp.nan) for name, value in found.items()}
