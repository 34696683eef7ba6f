"""Measurements of activations, weights and gradients, for tapjax's loop and for any other.

from tapjax.measure import dimensions

@jax.jit
def step(state, batch, probe):
    ...
    return state, loss, dimensions({"fc1": h1, "fc2": h2})
"""

from tapjax.measure.functions import calibration, dimensions, gradients, units, weights

__all__ = ["calibration", "dimensions", "gradients", "units", "weights"]
