"""Eight seeds at once by vmap, in plain JAX. The lines marked with # tapjax record the training.

python docs/examples/seeds_vmap.py runs/seeds && tapjax report runs/seeds --out=report.html
"""

import sys

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

from tapjax.live import Recorder  # tapjax
from tapjax.measure import calibration, dimensions  # tapjax

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
SEEDS, SIZES = 8, ((64, 48), (48, 32), (32, 10))
x, y = (jnp.asarray(a, jnp.float32) for a in load_digits(return_X_y=True))
x, y = x / 16, y.astype(int)
x_train, y_train, x_test, y_test = x[:1297], y[:1297], x[1297:], y[1297:]
tx = optax.adam(1e-3)


def init(key):
    keys = jax.random.split(key, len(SIZES))
    return [jax.random.normal(k, s) * (2 / s[0]) ** 0.5 for k, s in zip(keys, SIZES, strict=True)]


def forward(params, x):
    h1 = jax.nn.relu(x @ params[0])
    return {"h1": h1, "h2": (h2 := jax.nn.relu(h1 @ params[1])), "head": h2 @ params[2]}


@jax.jit
@jax.vmap
def train(params, opt, key):
    batch = jax.random.randint(key, (128,), 0, len(x_train))

    def loss_of(params):
        logits = forward(params, x_train[batch])["head"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y_train[batch]).mean()

    loss, grads = jax.value_and_grad(loss_of)(params)
    updates, opt = tx.update(grads, opt)
    return optax.apply_updates(params, updates), opt, loss, optax.global_norm(grads)


@jax.jit
@jax.vmap
def measure(params):
    layers = forward(params, x_test)
    return dimensions(layers), calibration(layers["head"], y_test)  # tapjax


fold_in = jax.jit(jax.vmap(jax.random.fold_in, (0, None)))
keys = jax.random.split(jax.random.key(0), SEEDS)
params = jax.vmap(init)(keys)
opt = jax.vmap(tx.init)(params)
with Recorder(sys.argv[1], seeds=SEEDS, model="mlp", data="digits") as record:  # tapjax
    for step in range(STEPS):
        if step % 5 == 0:
            layers, scores = measure(params)
            record.probe(step, layers=layers, **scores)  # tapjax
        params, opt, loss, norm = train(params, opt, fold_in(keys, step))
        record(step, loss=loss, grad_norm=norm)  # tapjax
print("test accuracy", scores["accuracy"].round(3))
