"""Digits in Flax linen. The lines marked with # tapjax record the training.

python docs/examples/digits_linen.py runs/linen && tapjax report runs/linen --out=report.html
"""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from tapjax.adapters.linen import activations  # tapjax
from tapjax.live import Recorder  # tapjax
from tapjax.measure import calibration, dimensions  # tapjax

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32)
x_train, y_train, x_test, y_test = x[:1297], y[:1297], x[1297:], y[1297:]

model = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(64), nn.relu, nn.Dense(10)])
params = model.init(jax.random.key(0), x[:1])["params"]
tx = optax.adam(1e-3)
opt = tx.init(params)


@jax.jit
def train(params, opt, x, y):
    def loss_of(params):
        logits = model.apply({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = jax.value_and_grad(loss_of)(params)
    updates, opt = tx.update(grads, opt)
    return optax.apply_updates(params, updates), opt, loss, optax.global_norm(grads)


@jax.jit
def measure(params):
    layers = activations(model, {"params": params}, x_test)  # tapjax
    return dimensions(layers), calibration(layers["head"], jnp.asarray(y_test))  # tapjax


rng = np.random.default_rng(0)
with Recorder(sys.argv[1], config={"lr": 1e-3}, model="mlp", data="digits") as record:  # tapjax
    for step in range(STEPS):
        if step % 5 == 0:
            layers, scores = measure(params)
            record.probe(step, layers=layers, **scores)  # tapjax
        batch = rng.integers(len(x_train), size=128)
        params, opt, loss, grad_norm = train(params, opt, x_train[batch], y_train[batch])
        record(step, loss=loss, grad_norm=grad_norm)  # tapjax
print(f"test accuracy {scores['accuracy']:.3f}")
