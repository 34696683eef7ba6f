"""Train four seeds over some virtual devices, in a process of its own.

    python -m tests.tapjax.run.device_driver WORKDIR DEVICES

Prints JSON: how many devices hold a seed, how often the chunk was compiled, and the bytes a device
needs for it besides the data.
"""

import json
import logging
import os
import sys

workdir, devices = sys.argv[1:]
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"

import jax  # noqa: E402

from tapjax.run import loop  # noqa: E402
from tapjax.run.assembly import assemble  # noqa: E402
from tests.conftest import tiny  # noqa: E402


class Count(logging.Handler):
    """Counts compilations of the chunk."""

    chunks = 0

    def emit(self, record):
        self.chunks += "Finished XLA compilation of jit(chunk)" in record.getMessage()


def config():
    cfg = tiny.__wrapped__()
    cfg.seeds, cfg.over_seeds, cfg.model.name = (0, 1, 2, 3), "shard", "mlp:depth=2,width=64"
    cfg.probe.size = 32  # spectra need the same memory on each device, for one seed at a time
    return cfg


def measure():
    ready = assemble(config())
    states = ready.programs.init()
    chunk = jax.jit(lambda states, data: ready.programs.chunk(states, data, 2))
    needed = chunk.lower(states, ready.data).compile().memory_analysis()
    holding = jax.tree.leaves(states.params)[0].sharding.device_set
    return {
        "devices": len(holding),
        "bytes": needed.temp_size_in_bytes + needed.output_size_in_bytes,
    }


if __name__ == "__main__":
    counter = Count()
    logging.getLogger("jax").addHandler(counter)
    with jax.log_compiles():
        loop.run(config(), workdir)
    print(json.dumps(measure() | {"compilations": counter.chunks}))
