import contextlib
import ctypes
import gc
import os
import sys
import tempfile

# Two workers on two cores: threads of OpenMP and BLAS that wait for each other cost minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
# One compilation cache for this session and every subprocess it starts.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="tapjax-xla-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("KERAS_BACKEND", "jax")
# Most tests compile for longer than they run; those that compare bits use `full_compile`.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import jax
import pytest

from tapjax.config import schema

jax.config.update("jax_numpy_rank_promotion", "raise")
# Where and how closely the planted run is looked at.
RESET, WINDOW = 640, 10


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Leave all but the named cases of a test to the second stage, or to the long tests.

    A long test runs only where the expression after `-m` names `long`, even if its module is slow.
    """
    for item in items:
        for kind in ("slow", "long"):
            for mark in item.iter_markers(f"{kind}_except"):
                if not any(name in f"[{item.callspec.id}]" for name in mark.args):
                    item.add_marker(getattr(pytest.mark, kind))
    if "long" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="module", autouse=True)
def forget_compiled():
    """Programs of one module are dropped after it; they would fill the memory of a worker."""
    yield
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":  # the C library keeps what is freed, 2 GB of it
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextlib.contextmanager
def optimised():
    """Programs are compiled as for a user, here and in subprocesses."""
    before = jax.config.read("jax_disable_most_optimizations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        jax.config.update("jax_disable_most_optimizations", False)
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def full_compile():
    """For modules that compare bits across programs, or precision."""
    with optimised():
        yield


@pytest.fixture
def getkey():
    """A function that returns a new random key at each call."""
    count = iter(range(1_000_000))
    return lambda: jax.random.fold_in(jax.random.key(5678), next(count))


@pytest.fixture
def tiny():
    """A config that trains in about a second: two seeds of a small MLP on digits."""
    cfg = schema.defaults()
    cfg.seeds = (0, 1)
    cfg.steps, cfg.chunk_steps, cfg.eval_every = 40, 10, 20
    cfg.data.batch_size = 16
    cfg.model.name = "mlp:depth=2,width=8"
    cfg.probe.size = 64
    cfg.checkpoint.every = 10
    return cfg


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory):
    """A finished run in which channel 2 of the second convolution was drawn anew at a step."""
    from tapjax.run import loop

    cfg = tiny.__wrapped__()
    cfg.model.name, cfg.over_seeds = "cnn:channels=4-8", "loop"
    cfg.steps, cfg.chunk_steps, cfg.eval_every = 800, 80, 0
    cfg.data.batch_size = 32
    cfg.probe.every, cfg.probe.size = 2, 128
    cfg.checkpoint.every, cfg.checkpoint.pin_window = 80, WINDOW
    cfg.reset.step, cfg.reset.layer, cfg.reset.unit = RESET, "conv_1", 2
    path = tmp_path_factory.mktemp("planted") / "run"
    with optimised():
        assert loop.run(cfg, path).status == "DONE"
    return path
