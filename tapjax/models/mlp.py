"""Multilayer perceptron on flattened inputs."""

import flax.linen as nn

from tapjax.models.layers import Linear


class MLP(nn.Module):
    """Linear + ReLU stages and a linear head.

    Hidden layers are the pre-activations of each stage: `hidden_0 ...`, then `head`.
    """

    widths: tuple[int, ...]
    classes: int
    initializer: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        h = x.reshape(x.shape[0], -1)
        hidden = {}
        for i, width in enumerate(self.widths):
            z = Linear(width, self.initializer, name=f"hidden_{i}")(h)
            hidden[f"hidden_{i}"] = z
            h = nn.relu(z)
        logits = Linear(self.classes, self.initializer, name="head")(h)
        return logits, hidden | {"head": logits}
