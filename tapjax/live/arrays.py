"""Conversion of arrays of any framework to NumPy."""

import numpy as np


def as_array(value) -> np.ndarray:
    """Convert a number or an array to NumPy.

    Args:
      value: number, or an array of NumPy, JAX, PyTorch, TensorFlow or Keras. Arrays on a device are
        copied.

    Returns:
      Array of numbers. Formats that NumPy does not have, such as bfloat16, become float32.

    Raises:
      ValueError: if the value is not a real number or an array of real numbers.
    """
    if hasattr(value, "detach"):  # a PyTorch tensor
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    try:
        found = np.asarray(value)
    except Exception as error:
        if "Tracer" not in type(error).__name__:
            raise
        raise ValueError(
            "a value inside of jit is not known yet: return it from the compiled function"
        ) from error
    if found.dtype.kind == "V":
        found = found.astype(np.float32)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{type(value).__name__} of {found.dtype} is not an array of real numbers")
    return found


def held(value, donated: bool = True):
    """Return a value that stays as it is until it is converted, without waiting for its device.

    Args:
      value: number or array of any framework. It is copied if it could change in place.
      donated: whether an array of JAX may be donated to a compiled function, so that it must be
        copied, too.

    Returns:
      An object for `as_array`.

    Raises:
      ValueError: see `as_array`.
    """
    if type(value) in (float, int):
        return value
    if hasattr(value, "detach"):  # without its graph, which would keep all activations
        return value.detach().clone()
    if hasattr(value, "copy_to_host_async"):
        value = value.copy() if donated else value
        value.copy_to_host_async()
        return value
    return np.array(as_array(value))
