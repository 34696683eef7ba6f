"""Plain convolutional network; each stage has a 3x3 convolution, activation and 2x2 max-pooling."""

import flax.linen as nn

from tapjax.models.layers import Conv, Linear, max_pool
from tapjax.models.style import Style, activate


class CNN(nn.Module):
    """Stages of convolution and pooling, optional fully connected layers and a linear head.

    The measured hidden layers are the outputs of the convolutions before the activation, `conv_0`
    and so on [B, H, W, C], and those of the fully connected layers, `dense_0` and so on, followed
    by `head`. A side that pooling has reduced to 1 pixel stays at 1. For example, on 8x8 images a
    fourth stage has a convolution without pooling. Convolutions are normalised and have no dropout;
    fully connected layers have dropout and are not normalised.
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
