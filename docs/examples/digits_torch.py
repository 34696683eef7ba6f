"""Digits in PyTorch. The lines marked with # tapjax record the training.

python docs/examples/digits_torch.py runs/torch && tapjax report runs/torch --out=report.html
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

from tapjax.adapters.torch import activations  # tapjax
from tapjax.live import Recorder  # tapjax

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
x_train, y_train, x_test, y_test = x[:1297], y[:1297], x[1297:], y[1297:]

torch.manual_seed(0)
model = nn.Sequential(
    nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_of = nn.CrossEntropyLoss()

with Recorder(sys.argv[1], config={"lr": 1e-3}, model="mlp", data="digits") as record:  # tapjax
    for step in range(STEPS):
        if step % 5 == 0:
            layers = activations(model, x_test)  # tapjax
            accuracy = (layers["head"].argmax(-1) == y_test).float().mean()
            record.probe(step, layers=layers, accuracy=accuracy)  # tapjax
        batch = torch.randint(len(x_train), (128,))
        loss = loss_of(model(x_train[batch]), y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        optimizer.step()
        record(step, loss=loss, grad_norm=grad_norm)  # tapjax
print(f"test accuracy {accuracy:.3f}")
