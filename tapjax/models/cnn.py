"""Plain convolutional network: 3x3 convolution, ReLU and 2x2 max-pooling a stage."""

import flax.linen as nn

from tapjax.models.layers import Conv, Linear, max_pool


class CNN(nn.Module):
    """Stages of convolution and pooling, then a linear head on the flattened map.

    Hidden layers are the convolutions' outputs before ReLU, `conv_0 ...` [B, H, W, C]; then
    `head`. A side that pooling has brought down to 1 pixel stays at 1: on 8x8 images a fourth
    stage convolves without pooling.
    """

    channels: tuple[int, ...]
    classes: int
    initializer: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        hidden = {}
        for i, channels in enumerate(self.channels):
            z = Conv(channels, initializer=self.initializer, name=f"conv_{i}")(x)
            hidden[f"conv_{i}"] = z
            # Max-pooling commutes with ReLU, and pooling first leaves it a quarter of the work.
            x = nn.relu(max_pool(z))
        logits = Linear(self.classes, self.initializer, name="head")(x.reshape(x.shape[0], -1))
        return logits, hidden | {"head": logits}
