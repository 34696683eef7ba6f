"""Comparison of the environments that the bits of a run depend on. Imports no JAX.

The bits also depend on the config and the data, which are compared elsewhere. Settings of JAX that
change numbers are fixed where JAX allows it (see environment.py). Everything else is recorded in
env.json. If a run is resumed or replayed in an environment in which one of these fields differs, it
is refused, and the message names the field.
"""

from collections.abc import Mapping

from tapjax.config import schema

# Packages whose code is part of the compiled step.
COMPILED = ("jax", "jaxlib", "flax", "optax")
# Fields of env.json that the bits of a run depend on; in `versions`, only those of COMPILED count.
FIELDS = (
    "seeds", "over_seeds", "devices", "jaxlib", "device_kind", "versions", "cores",
    "cpu_features", "xla_flags", "jax_settings", "source", "own_code",
)  # fmt: skip


def differences(old: Mapping, new: Mapping) -> list[str]:
    """List the differences between two environments that may change the bits of a run.

    Args:
      old: contents of a run's env.json. Fields that it lacks are ignored, because they were not
        yet recorded when it was written.
      new: contents that this process would write.

    Returns:
      `name: old -> new` for each field that differs and that the bits of a run depend on.
    """
    return schema.diff(*({n: _bits_of(n, env) for n in FIELDS if n in old} for env in (old, new)))


def _bits_of(name, env):
    if name == "versions":
        return {package: env[name].get(package) for package in COMPILED}
    return env[name]
