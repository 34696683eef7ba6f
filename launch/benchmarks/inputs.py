"""Inputs of benchmarks: synthetic images, recipes, and a chunk that is called repeatedly."""

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


def build(arch, steps, size=PROBE, **probe):
    """Build the recipe and the data of a benchmark run, as `loop.run` would build them.

    Args:
      arch: architecture.
      steps: training steps.
      size: number of probe examples.
      **probe: fields of the config's `probe` that are changed.

    Returns:
      (recipe, data on the device).
    """
    import numpy as np

    from tapjax.config import schema
    from tapjax.data.datasets import Arrays
    from tapjax.data.sampling import device_data
    from tapjax.recipes.tap import recipe

    cfg = schema.defaults()
    cfg.model.name, cfg.steps = arch, steps
    cfg.probe.update({"tokens": "legacy", "centred": False, **probe})
    x, y = synthetic(arch)
    mean, std = (np.full(x.shape[-1], value, np.float32) for value in (128, 70))
    arrays = Arrays("synthetic", x[PROBE:], y[PROBE:], x[:size], y[:size], 10, mean, std)
    return recipe(cfg, arrays), device_data(arrays, size)[0]


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
