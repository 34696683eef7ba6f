"""Environment of a run: the settings of JAX that every run has, and the contents of env.json."""

import ast
import contextlib
import hashlib
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jax

from tapjax.config import schema
from tapjax.config.fields import is_import_path
from tapjax.contract.layout import SCHEMA
from tapjax.step.blocks import devices_for

PACKAGES = ("tapjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")
# Settings of JAX that change numbers and have no context manager.
SETTINGS = (
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_random_seed_offset",
)
# Flags of XLA that only write files, or whose effect the field `devices` records.
HARMLESS = ("--xla_dump", "--xla_force_host_platform_device_count")
INSTRUCTIONS = re.compile(r"avx|sse|fma|f16c|amx|bmi|asimd|sve|neon|fphp")


@contextlib.contextmanager
def pinned_settings():
    """Give JAX the settings that every run has, independently of environment variables."""
    with (
        jax.enable_x64(False),
        jax.threefry_partitionable(True),
        jax.default_prng_impl("threefry2x32"),
        jax.default_matmul_precision(None),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield


def environment(cfg, over_seeds: str) -> dict:
    """Describe the environment in which a run is trained, for env.json.

    Args:
      cfg: the run's config.
      over_seeds: how the seeds are run: `vmap`, `map`, `loop` or `shard`.

    Returns:
      JSON data. `cores` and `cpu_features` are None on accelerators, because programs do not depend
      on them there.
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
        "commit": _commit(),
        "source": _digest(sorted(Path(__file__).parents[1].rglob("*.py"))),
        "own_code": _own_code(cfg),
        "argv": [arg for arg in sys.argv[1:] if not arg.startswith("--workdir")],
    }


def _commit():
    """Return the commit of this checkout, with `-dirty` if files have changed; None without git."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _cores():
    """Return the number of usable cores; XLA splits sums among the same number of threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_features():
    """Return the instruction sets that XLA compiles for, as far as the system reports them."""
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
    """Return digests of the user-defined modules in the config, which are already imported."""
    names = [name for name in schema.flatten(cfg).values() if isinstance(name, str)]
    modules = sorted({name.partition(":")[0] for name in names if is_import_path(name)})
    files = {name: getattr(sys.modules.get(name), "__file__", None) or "" for name in modules}
    return {name: _digest([Path(f)]) for name, f in files.items() if f.endswith(".py")}


def _digest(paths):
    """Return a sha256 digest of Python files that ignores comments, layout and docstrings."""
    hasher = hashlib.sha256()
    for path in paths:
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                if isinstance(getattr(body[0].value, "value", None), str):
                    del body[0]
        hasher.update(f"{path.name} {ast.unparse(tree)}".encode())
    return hasher.hexdigest()[:16]
