"""Inputs of benchmarks: synthetic images, and a compiled chunk that is called repeatedly."""

PROBE, TRAIN, BATCH = 320, 10_000, 64  # numbers of examples
SHAPES = {"cnn": (32, 32, 3), "resnet": (32, 32, 3)}


def synthetic(arch: str):
    """Draw random images and labels, because the cost of a step does not depend on their content.

    Args:
      arch: architecture, which determines the shape of the images.

    Returns:
      (images [N, height, width, channels], labels [N]) of N = `TRAIN` + `PROBE` examples.
    """
    import numpy as np

    from tapjax.contract.architectures import parse_architecture

    shape = SHAPES.get(parse_architecture(arch).family, (28, 28, 1))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (TRAIN + PROBE, *shape)).astype(np.uint8)
    return x, rng.integers(0, 10, TRAIN + PROBE).astype(np.int32)


def repeated(made, chunk, seeds, data):
    """Make a function that runs a chunk from the state in which its last call ended.

    Args:
      made: recipe that initialises the states.
      chunk: compiled chunk of training steps.
      seeds: number of seeds.
      data: data on the device.

    Returns:
      A function without arguments.
    """
    import jax
    import numpy as np

    init = jax.jit(jax.vmap(lambda seed: made.init(jax.random.key(seed))))
    states = init(np.arange(seeds, dtype=np.uint32))

    def run():
        nonlocal states
        states, record = chunk(states, data)
        jax.device_get(record)

    return run
