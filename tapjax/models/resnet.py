"""ResNet-18 for small images (He et al. 2016, with a 3x3 stem and no stem pooling)."""

from functools import partial

import flax.linen as nn

from tapjax.models.layers import Conv, Linear


class ResNet18(nn.Module):
    """Four stages of two basic blocks, global average pooling and a linear head.

    Hidden layers are the outputs of all 20 convolutions (stem, two a block, three shortcuts),
    [B, H, W, C], before batch normalisation; then `head`. Strided stages halve the side down to
    1 pixel, so any input size works.
    """

    channels: tuple[int, ...]
    classes: int
    initializer: str

    @nn.compact
    def __call__(self, x, train: bool = False):
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        hidden = {}

        def conv_norm(name, x, features, size=3, stride=1):
            z = Conv(features, size, stride, bias=False, initializer=self.initializer, name=name)(x)
            hidden[name] = z
            return norm(name=f"{name}_norm")(z)

        x = nn.relu(conv_norm("stem", x, self.channels[0]))
        for stage, features in enumerate(self.channels):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                name = f"block_{stage}_{block}"
                h = nn.relu(conv_norm(f"{name}_conv_0", x, features, stride=stride))
                h = conv_norm(f"{name}_conv_1", h, features)
                if x.shape != h.shape:
                    x = conv_norm(f"{name}_shortcut", x, features, size=1, stride=stride)
                x = nn.relu(h + x)
        logits = Linear(self.classes, self.initializer, name="head")(x.mean((1, 2)))
        return logits, hidden | {"head": logits}
