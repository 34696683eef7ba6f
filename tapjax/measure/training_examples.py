"""Fixed training examples, on which the loss and its derivatives are measured."""

import jax.numpy as jnp
import numpy as np

from tapjax.data.sampling import normalise
from tapjax.types import Batch, DeviceData


def training_examples(data: DeviceData, count: int) -> Batch:
    """Return training examples that are evenly spaced over the training split.

    Args:
      data: data of the run.
      count: number of examples; fewer are returned if the split has fewer.

    Returns:
      Batch of normalised examples, the same at every step.
    """
    index = np.linspace(0, len(data.y) - 1, min(count, len(data.y))).astype(int)
    return Batch(normalise(data.x[index], data.mean, data.std), jnp.asarray(data.y)[index])
