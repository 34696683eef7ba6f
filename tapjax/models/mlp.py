"""Multilayer perceptron on flattened inputs."""

import flax.linen as nn

from tapjax.models.layers import Linear
from tapjax.models.style import Style, activate


class MLP(nn.Module):
    """Stages of linear map, normalisation and activation, followed by a linear head.

    The measured hidden layers are the pre-activations of each stage, `hidden_0`, `hidden_1` and so
    on, followed by `head`.
    """

    widths: tuple[int, ...]
    classes: int
    style: Style

    @nn.compact
    def __call__(self, x, train: bool = False):
        h = x.reshape(x.shape[0], -1)
        hidden = {}
        for i, width in enumerate(self.widths):
            name = f"hidden_{i}"
            hidden[name] = Linear(width, self.style.initializer, name=name)(h)
            h = activate(self, self.style, name, hidden[name], train)
        logits = Linear(self.classes, self.style.initializer, name="head")(h)
        return logits, hidden | {"head": logits}
