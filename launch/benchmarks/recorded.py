"""Loops of other libraries with and without a Recorder, as sides of the suite `recorder`."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

BATCH, PROBE, SIZES = 128, 512, (784, 256, 128, 64, 10)


def recorded(library: str, steps: int, every: int, what: str):
    """Make a function that trains a multilayer perceptron in a loop of Python.

    Args:
      library: `torch` or `jax`.
      steps: training steps per call.
      every: steps between measurements.
      what: `plain` for the loop alone, `measured` for one that also measures the layers and
        discards the results, or `recorded` for one that records them.

    Returns:
      A function without arguments.
    """
    from tapjax.live import Recorder

    rng = np.random.default_rng(0)
    x = rng.standard_normal((4096, SIZES[0])).astype(np.float32)
    y = rng.integers(SIZES[-1], size=4096)
    train, measure = (_torch if library == "torch" else _jax)(x, y)
    batches = rng.integers(len(x), size=(steps, BATCH))

    def loop(record):
        for step in range(steps):
            if step % every == 0 and what != "plain":
                layers = measure()
                if record is not None:
                    record.probe(step, layers=layers)
            loss, norm = train(batches[step])
            if record is not None:
                record(step, loss=loss, grad_norm=norm)
        return loss

    def run():
        if what != "recorded":
            return loop(None)
        folder = Path(tempfile.mkdtemp())
        with Recorder(folder / "run", quiet=True) as record:
            found = loop(record)
        shutil.rmtree(folder)
        return found

    return run


def _torch(x, y):
    import torch
    from torch import nn

    from tapjax.adapters.torch import activations
    from tapjax.live.dimensions import dimensions

    torch.set_num_threads(1)
    x, y = torch.tensor(x), torch.tensor(y)
    layers = [nn.Linear(a, b) for a, b in zip(SIZES[:-1], SIZES[1:], strict=True)]
    model = nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())))[:-1]
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def train(batch):
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        optimizer.step()
        return loss, norm

    def measure():
        found = activations(model, x[:PROBE])
        return {name: dimensions(a.numpy()) for name, a in found.items()}

    return train, measure


def _jax(x, y):
    import jax
    import jax.numpy as jnp
    import optax

    from tapjax.measure import dimensions

    x, y, tx = jnp.asarray(x), jnp.asarray(y), optax.adam(1e-3)
    keys = jax.random.split(jax.random.key(0), len(SIZES) - 1)
    sizes = zip(keys, SIZES[:-1], SIZES[1:], strict=True)
    params = [jax.random.normal(k, (a, b)) * (2 / a) ** 0.5 for k, a, b in sizes]
    state = [params, tx.init(params)]

    def forward(params, x):
        hidden = []
        for w in params[:-1]:
            x = jax.nn.relu(x @ w)
            hidden.append(x)
        return x @ params[-1], hidden

    @jax.jit
    def step(params, opt, batch):
        def loss_of(params):
            logits, _ = forward(params, x[batch])
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[batch]).mean()

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt = tx.update(grads, opt)
        return optax.apply_updates(params, updates), opt, loss, optax.global_norm(grads)

    @jax.jit
    def measured(params):
        logits, hidden = forward(params, x[:PROBE])
        return dimensions({f"h{i}": h for i, h in enumerate(hidden)} | {"head": logits})

    def train(batch):
        *state[:], loss, norm = step(*state, batch)
        return loss, norm

    return train, lambda: measured(state[0])
