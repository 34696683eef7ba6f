"""Online learning, one example at a time, by our compiled scan and by a plain PyTorch loop."""

TASKS = {  # task -> config, its arguments, sizes of the PyTorch network, learning rate
    "bits": ("bits", "lr=0.01", (21, 5, 1), 0.01),
    "permuted MNIST": ("continual", "online", (784, 100, 100, 100, 10), 0.003),
}


def online(task, steps, seeds=1):
    """Make a function that runs steps of the plasticity family at batch size 1, unmeasured.

    Args:
      task: key of `TASKS`.
      steps: training steps per call.
      seeds: number of seeds.

    Returns:
      A function without arguments.
    """
    import importlib

    import numpy as np

    from launch.benchmarks.inputs import PROBE, repeated, synthetic
    from tapjax.data.datasets import Arrays, load_arrays
    from tapjax.data.sampling import device_data
    from tapjax.recipes.plasticity import recipe
    from tapjax.step import blocks

    module, arguments, _, _ = TASKS[task]
    cfg = importlib.import_module(f"configs.plasticity.{module}").get_config(arguments)
    if module == "bits":
        arrays = load_arrays(cfg.data.name)
    else:
        x, y = synthetic("mlp_medium_5")
        scale = np.zeros(1, np.float32), np.full(1, 255, np.float32)
        arrays = Arrays("synthetic", x[PROBE:], y[PROBE:], x[:PROBE], y[:PROBE], 10, *scale)
    made, data = recipe(cfg, arrays), device_data(arrays, PROBE)[0]
    block = blocks.make_block(made.step, lambda state, data: {}, steps, prepare=made.prepare)
    over = blocks.OVER_SEEDS[blocks.choose_over_seeds("auto", seeds, made.structure, 1)]
    return repeated(made, blocks.make_chunk(block, 1, over), seeds, data)


def torch_online(task, steps):
    """Make a plain PyTorch loop: forward pass, backward pass and SGD for each example.

    The inputs are prepared beforehand.

    Args:
      task: key of `TASKS`.
      steps: training steps per call.

    Returns:
      A function without arguments.
    """
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    _, _, sizes, rate = TASKS[task]
    layers = []
    for i, o in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(i, o), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    x = torch.rand(steps, sizes[0])
    if sizes[-1] == 1:
        criterion, y = nn.MSELoss(), torch.randn(steps, 1)
    else:
        criterion, y = nn.CrossEntropyLoss(), torch.randint(sizes[-1], (steps,))

    def run():
        for i in range(steps):
            loss = criterion(net(x[i : i + 1]), y[i : i + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run
