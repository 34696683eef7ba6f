"""Digits in Flax NNX. The lines marked with # tapjax record the training.

python docs/examples/digits_nnx.py runs/nnx && tapjax report runs/nnx --out=report.html
"""

import sys

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from tapjax.adapters.nnx import activations  # tapjax
from tapjax.live import Recorder  # tapjax
from tapjax.measure import calibration, dimensions  # tapjax

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32)
x_train, y_train, x_test, y_test = x[:1297], y[:1297], x[1297:], y[1297:]


rngs = nnx.Rngs(0)
model = nnx.Sequential(
    nnx.Linear(64, 128, rngs=rngs),
    nnx.relu,
    nnx.Linear(128, 64, rngs=rngs),
    nnx.relu,
    nnx.Linear(64, 10, rngs=rngs),
)
optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)


@nnx.jit
def train(model, optimizer, x, y):
    def loss_of(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    loss, grads = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, grads)
    return loss, optax.global_norm(grads)


@nnx.jit
def measure(model):
    layers = activations(model, jnp.asarray(x_test))  # tapjax
    return dimensions(layers), calibration(layers["head"], jnp.asarray(y_test))  # tapjax


rng = np.random.default_rng(0)
with Recorder(sys.argv[1], config={"lr": 1e-3}, model="mlp", data="digits") as record:  # tapjax
    for step in range(STEPS):
        if step % 5 == 0:
            layers, scores = measure(model)
            record.probe(step, layers=layers, **scores)  # tapjax
        batch = rng.integers(len(x_train), size=128)
        loss, grad_norm = train(model, optimizer, x_train[batch], y_train[batch])
        record(step, loss=loss, grad_norm=grad_norm)  # tapjax
print(f"test accuracy {scores['accuracy']:.3f}")
