"""Digits in Keras 3. The lines marked with # tapjax record the training.

KERAS_BACKEND=jax python docs/examples/digits_keras.py runs/keras
tapjax report runs/keras --out=report.html
"""

import sys

import keras
import numpy as np
from sklearn.datasets import load_digits

from tapjax.adapters.keras import activations  # tapjax
from tapjax.live import Recorder  # tapjax

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32)
x_train, y_train, x_test, y_test = x[:1297], y[:1297], x[1297:], y[1297:]

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(128, activation="relu", name="fc1"),
        keras.layers.Dense(64, activation="relu", name="fc2"),
        keras.layers.Dense(10, name="fc3"),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])

rng = np.random.default_rng(0)
with Recorder(sys.argv[1], config={"lr": 1e-3}, model="mlp", data="digits") as record:  # tapjax
    for step in range(STEPS):
        if step % 5 == 0:
            layers = activations(model, x_test)  # tapjax
            accuracy = (np.asarray(layers["head"]).argmax(-1) == y_test).mean()
            record.probe(step, layers=layers, accuracy=accuracy)  # tapjax
        batch = rng.integers(len(x_train), size=128)
        model.reset_metrics()
        logs = model.train_on_batch(x_train[batch], y_train[batch], return_dict=True)
        record(step, loss=logs["loss"])  # tapjax
print(f"test accuracy {accuracy:.3f}")
