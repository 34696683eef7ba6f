# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # In your own loop
#
# The recorder and the live monitor need only NumPy. Here they record and watch a network of 20 lines
# that trains on handwritten digits, without JAX. A change is planted: at step 600 the weights of 48
# of the 64 units of the first layer are set to 0. Time: a few seconds.

# %%
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from analysis import open_run
from tapjax.live import Monitor, Recorder

digits = load_digits()
x, y = digits.data / 16 - 0.5, np.eye(10)[digits.target]
rng = np.random.default_rng(0)
weights = [rng.normal(size=shape) * shape[0] ** -0.5 for shape in ((64, 64), (64, 32), (32, 10))]


def forward(x):
    hidden = [x]
    for w in weights[:-1]:
        hidden.append(np.tanh(hidden[-1] @ w))
    return hidden, hidden[-1] @ weights[-1]


def train(x, y, lr):
    """Make one step of gradient descent, and return the loss and the norm of the gradient."""
    hidden, logits = forward(x)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss, error, grads = -np.log((p * y).sum(1)).mean(), (p - y) / len(x), []
    for h, w in zip(hidden[::-1], weights[::-1]):
        grads.append(h.T @ error)
        error = (error @ w.T) * (1 - h**2)
    for w, grad in zip(weights, grads[::-1]):
        w -= lr * grad
    return loss, np.sqrt(sum((g**2).sum() for g in grads))


# %% [markdown]
# Every 5 steps, before the update, the activations of the hidden layers on 200 fixed examples go to
# the recorder and to the monitor. The recorder writes a run directory. The monitor also gets the
# loss and the norm of the gradient, and returns D, forecasts, new jumps and warnings.

# %%
folder = tempfile.mkdtemp() + "/mine"
monitor, reports = Monitor(), []
with Recorder(folder, config={"lr": 0.1}, model="tanh network", data="digits") as record:
    for step in range(1000):
        if step == 600:
            weights[0][:, :48] = 0
        hidden, logits = forward(x[1500:1700])
        batch = rng.choice(1500, 64)
        loss, grad_norm = train(x[batch], y[batch], lr=0.1)
        record(step, loss=loss, grad_norm=grad_norm)
        if step % 5 == 0:
            layers = {"tanh_0": hidden[1], "tanh_1": hidden[2]}
            accuracy = (logits.argmax(1) == digits.target[1500:1700]).mean()
            record.probe(step, layers=layers | {"head": logits}, accuracy=accuracy)
            report = monitor.update(step, loss, grad_norm, layers)
            reports.append(report)
            for jump in report.jumps:
                print(f"step {step}: jump of D at step {jump.step}, size {jump.size:+.2f}")
            for warning in report.warnings:
                print(f"step {step}: {warning.message}. Try: {warning.recommendation}.")

# %%
steps, d = [r.step for r in reports], [r.d for r in reports]
ahead = monitor.state()["forecasts"]
low, high = (np.array(ahead[name], float) for name in ("low", "high"))
plt.figure(figsize=(7, 3))
plt.plot(steps, d, "k", label="measured D")
plt.plot(ahead["step"], ahead["d"], label=f"forecast {ahead['horizon']} steps before")
plt.fill_between(ahead["step"], low, high, alpha=0.2)
for jump in monitor.jumps:
    plt.axvline(jump.step, color="C3", linestyle="--")
plt.xlabel("training step"), plt.ylabel("D"), plt.legend()
plt.show()

# %% [markdown]
# `monitor.save(folder)` writes everything as JSON. The jump is reported some measurements
# after it happened, because the detector waits for a fixed number of later ones. The forecasts made
# before the planted change are wrong, and the interval is wide afterwards, because it comes from the
# monitor's own past errors.

# %% [markdown]
# Every analysis command, the report and the live page read the recorded run, for example
# `tapjax report FOLDER --out=report.html`. In Python, it is a folder of plain arrays.

# %%
run = open_run(folder)
run

# %%
run.to_pandas("probe")[
    ["accuracy", "participation_ratio/tanh_0", "participation_ratio/tanh_1"]
].tail(3)

# %%
run.plot()
