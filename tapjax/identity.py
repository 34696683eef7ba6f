"""What the bits of a run depend on besides its config and its data.

Settings of JAX that change numbers are pinned where JAX allows it. All else is recorded in
env.json, and a run that is resumed or replayed where something differs is refused by name.
"""

import ast
import contextlib
import hashlib
import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path

import jax

from analysis.layout import SCHEMA
from tapjax import config
from tapjax.blocks import devices_for
from tapjax.constraints import is_import_path

PACKAGES = ("tapjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")
# Packages whose code is part of the compiled step.
COMPILED = ("jax", "jaxlib", "flax", "optax")
# Fields of env.json that the bits of a run depend on; of `versions`, those of COMPILED.
FIELDS = (
    "seeds", "over_seeds", "devices", "jaxlib", "device_kind", "versions", "cores",
    "cpu_features", "xla_flags", "jax_settings", "source", "own_code",
)  # fmt: skip
# Settings of JAX that change numbers and have no context manager.
SETTINGS = (
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_random_seed_offset",
)
# Flags of XLA that only write files, or that `devices` stands for.
HARMLESS = ("--xla_dump", "--xla_force_host_platform_device_count")
INSTRUCTIONS = re.compile(r"avx|sse|fma|f16c|amx|bmi|asimd|sve|neon|fphp")


@contextlib.contextmanager
def pinned_settings():
    """Give JAX the settings that every run has, whatever the environment says."""
    with (
        jax.enable_x64(False),
        jax.threefry_partitionable(True),
        jax.default_prng_impl("threefry2x32"),
        jax.default_matmul_precision(None),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield


def environment(cfg, over_seeds: str) -> dict:
    """Describe where a run is trained: the contents of env.json.

    Args:
      cfg: the run's config.
      over_seeds: how the seed axis is run.

    Returns:
      JSON data. `cores` and `cpu_features` are None on accelerators, where programs do not depend
      on them.
    """
    device, seeds = jax.devices()[0], len(cfg.seeds)
    on_cpu = device.platform == "cpu"
    return {
        "schema": SCHEMA,
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "jaxlib": metadata.version("jaxlib"),
        "device_kind": f"{device.platform} {device.device_kind}",
        "devices": devices_for(seeds) if over_seeds == "shard" else 1,
        "machine": platform.machine(),
        "seeds": seeds,
        "over_seeds": over_seeds,
        "cores": _cores() if on_cpu else None,
        "cpu_features": _cpu_features() if on_cpu else None,
        "xla_flags": _xla_flags(),
        "jax_settings": {name: jax.config.values.get(name) for name in SETTINGS},
        "source": _digest(sorted(Path(__file__).parent.rglob("*.py"))),
        "own_code": _own_code(cfg),
        "argv": [arg for arg in sys.argv[1:] if not arg.startswith("--workdir")],
    }


def differences(old: Mapping, new: Mapping) -> list[str]:
    """Compare two environments.

    Args:
      old: contents of a run's env.json; fields that it lacks were not recorded in its time.
      new: contents that this process would write.

    Returns:
      One `name: old -> new` for each field that the bits of a run depend on and that differs.
    """
    return config.diff(*({n: _bits_of(n, env) for n in FIELDS if n in old} for env in (old, new)))


def _bits_of(name, env):
    if name == "versions":
        return {package: env[name].get(package) for package in COMPILED}
    return env[name]


def _cores():
    """Cores that this process may use: XLA splits sums among as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_features():
    """Instruction sets that XLA compiles for, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text().splitlines()
    listed = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return " ".join(sorted(filter(INSTRUCTIONS.match, listed.partition(":")[2].split())))


def _xla_flags():
    flags = os.environ.get("XLA_FLAGS", "").split()
    return sorted(flag for flag in flags if not flag.startswith(HARMLESS))


def _own_code(cfg):
    """Digests of the modules of a user that the config names."""
    names = [name for name in config.flatten(cfg).values() if isinstance(name, str)]
    modules = sorted({name.partition(":")[0] for name in names if is_import_path(name)})
    found = {name: util.find_spec(name) for name in modules}
    return {
        name: _digest([Path(spec.origin)])
        for name, spec in found.items()
        if spec and str(spec.origin).endswith(".py")
    }


def _digest(paths):
    """The sha256 of Python files without their comments, layout and docstrings."""
    hasher = hashlib.sha256()
    for path in paths:
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                if isinstance(getattr(body[0].value, "value", None), str):
                    del body[0]
        hasher.update(f"{path.name} {ast.dump(tree)}".encode())
    return hasher.hexdigest()[:16]
