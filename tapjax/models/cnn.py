"""Plain convolutional network: 3x3 convolution, activation and 2x2 max-pooling a stage."""

import flax.linen as nn

from tapjax.models.layers import Conv, Linear, max_pool
from tapjax.models.style import Style, activate


class CNN(nn.Module):
    """Stages of convolution and pooling, fully connected layers if any, and a linear head.

    Hidden layers are the convolutions' outputs before the activation, `conv_0 ...` [B, H, W, C],
    those of the fully connected layers, `dense_0 ...`; then `head`. A side that pooling has brought
    down to 1 pixel stays at 1: on 8x8 images a fourth stage convolves without pooling. The
    convolutions are normalised but get no dropout, the fully connected layers the other way round.
    """

    channels: tuple[int, ...]
    dense: tuple[int, ...]
    classes: int
    style: Style

    @nn.compact
    def __call__(self, x, train: bool = False):
        hidden, initializer = {}, self.style.initializer
        for i, channels in enumerate(self.channels):
            name = f"conv_{i}"
            hidden[name] = Conv(channels, initializer=initializer, name=name)(x)
            style = self.style._replace(dropout=0.0)
            x = activate(self, style, name, hidden[name], train, max_pool)
        h = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.dense):
            name = f"dense_{i}"
            hidden[name] = Linear(width, initializer, name=name)(h)
            h = activate(self, self.style._replace(norm="none"), name, hidden[name], train)
        logits = Linear(self.classes, initializer, name="head")(h)
        return logits, hidden | {"head": logits}
