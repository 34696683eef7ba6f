"""A small GPT in PyTorch on the characters of a text file. Lines with # tapjax record it.

python docs/examples/gpt_torch.py runs/gpt README.md && tapjax report runs/gpt --out=report.html
"""

import sys
from pathlib import Path

import torch
from torch import nn

from tapjax.adapters.torch import activations  # tapjax
from tapjax.live import Recorder  # tapjax

STEPS = int(sys.argv[3]) if len(sys.argv) > 3 else 800
LENGTH, WIDTH, HEADS = 64, 64, 4
MASK = nn.Transformer.generate_square_subsequent_mask(LENGTH)
text = Path(sys.argv[2]).read_text()
letters = sorted(set(text))
data = torch.tensor(list(map(letters.index, text)))
torch.manual_seed(0)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(len(letters), WIDTH), nn.Embedding(LENGTH, WIDTH)
        sizes = (WIDTH, HEADS, 4 * WIDTH, 0.0)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(*sizes, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.out = nn.Linear(WIDTH, len(letters))

    def forward(self, x):
        h = self.token(x) + self.place(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h, src_mask=MASK, is_causal=True)
        return self.out(h)


def batch(size):
    place = torch.randint(len(data) - LENGTH - 1, (size, 1)) + torch.arange(LENGTH)
    return data[place], data[place + 1]


model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
probe = batch(32)
with Recorder(sys.argv[1], config={"lr": 3e-3}, model="gpt", data="text") as record:  # tapjax
    for step in range(STEPS):
        if step % 5 == 0:
            layers = activations(model, probe[0], layers="blocks.?")  # tapjax
            accuracy = (layers["head"].argmax(-1) == probe[1]).float().mean()
            record.probe(step, layers=layers, accuracy=accuracy)  # tapjax
        x, y = batch(16)
        loss = nn.functional.cross_entropy(model(x).transpose(1, 2), y)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        record(step, loss=loss, grad_norm=norm)  # tapjax
print(f"accuracy of the next character {accuracy:.3f}")
