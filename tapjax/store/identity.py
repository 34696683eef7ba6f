"""What the bits of a run depend on besides its config and its data. Imports no JAX.

Settings of JAX that change numbers are pinned where JAX allows it (see environment.py). All else
is recorded in env.json, and a run that is resumed or replayed where it differs is refused by name.
"""

from collections.abc import Mapping

from tapjax.config import schema

# Packages whose code is part of the compiled step.
COMPILED = ("jax", "jaxlib", "flax", "optax")
# Fields of env.json that the bits of a run depend on; of `versions`, those of COMPILED.
FIELDS = (
    "seeds", "over_seeds", "devices", "jaxlib", "device_kind", "versions", "cores",
    "cpu_features", "xla_flags", "jax_settings", "source", "own_code",
)  # fmt: skip


def differences(old: Mapping, new: Mapping) -> list[str]:
    """Compare two environments.

    Args:
      old: contents of a run's env.json; fields that it lacks were not recorded in its time.
      new: contents that this process would write.

    Returns:
      One `name: old -> new` for each field that the bits of a run depend on and that differs.
    """
    return schema.diff(*({n: _bits_of(n, env) for n in FIELDS if n in old} for env in (old, new)))


def _bits_of(name, env):
    if name == "versions":
        return {package: env[name].get(package) for package in COMPILED}
    return env[name]
