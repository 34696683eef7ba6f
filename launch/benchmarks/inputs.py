"""What benchmarks run on: made-up images, and a compiled chunk that is called again and again."""

PROBE, TRAIN = 320, 10_000  # examples
SHAPES = {"cnn": (32, 32, 3), "resnet": (32, 32, 3)}


def synthetic(arch: str):
    """Random images and labels: a step's cost does not depend on what they show."""
    import numpy as np

    from tapjax.contract.architectures import parse_architecture

    shape = SHAPES.get(parse_architecture(arch).family, (28, 28, 1))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (TRAIN + PROBE, *shape)).astype(np.uint8)
    return x, rng.integers(0, 10, TRAIN + PROBE).astype(np.int32)


def repeated(made, chunk, seeds, data):
    """A function that runs a chunk, on from where the last call ended."""
    import jax
    import numpy as np

    init = jax.jit(jax.vmap(lambda seed: made.init(jax.random.key(seed))))
    states = init(np.arange(seeds, dtype=np.uint32))

    def run():
        nonlocal states
        states, record = chunk(states, data)
        jax.device_get(record)

    return run
