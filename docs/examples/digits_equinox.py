"""Digits in Equinox. The lines marked with # tapjax record the training.

python docs/examples/digits_equinox.py runs/eqx && tapjax report runs/eqx --out=report.html
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from tapjax.adapters.equinox import activations  # tapjax
from tapjax.live import Recorder  # tapjax
from tapjax.measure import calibration, dimensions  # tapjax

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32)
x_train, y_train, x_test, y_test = x[:1297], y[:1297], x[1297:], y[1297:]

model = eqx.nn.MLP(64, 10, 96, depth=2, key=jax.random.key(0))
tx = optax.adam(1e-3)
opt = tx.init(eqx.filter(model, eqx.is_inexact_array))


@eqx.filter_jit
def train(model, opt, x, y):
    def loss_of(model):
        logits = jax.vmap(model)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = eqx.filter_value_and_grad(loss_of)(model)
    updates, opt = tx.update(grads, opt)
    return eqx.apply_updates(model, updates), opt, loss, optax.global_norm(grads)


@eqx.filter_jit
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
        model, opt, loss, grad_norm = train(model, opt, x_train[batch], y_train[batch])
        record(step, loss=loss, grad_norm=grad_norm)  # tapjax
print(f"test accuracy {scores['accuracy']:.3f}")
