"""ResNet-18 for small images, with a 3x3 stem and without pooling in the stem.

The architecture is based on He et al. 2016 (https://arxiv.org/abs/1512.03385).
"""

import flax.linen as nn

from tapjax.models.layers import Conv, Linear
from tapjax.models.style import ACTIVATIONS, Style, drop, normalise, watched


class ResNet18(nn.Module):
    """Four stages of two basic blocks, global average pooling and a linear head.

    The measured hidden layers are the outputs of all 20 convolutions (stem, two per block, three
    shortcuts), [B, H, W, C], before normalisation, followed by `head`. Strided stages halve the
    side until it is 1 pixel, so any input size works. Convolutions have a bias only in networks
    without normalisation. Dropout is applied before the head.
    """

    channels: tuple[int, ...]
    classes: int
    style: Style

    @nn.compact
    def __call__(self, x, train: bool = False):
        style, act = self.style, ACTIVATIONS[self.style.activation]
        bias, hidden = style.norm == "none", {}

        def conv(name, x, features, size=3, stride=1, norm=not style.norm_after):
            layer = Conv(features, size, stride, bias, style.initializer, name=name)
            z = hidden[name] = layer(x)
            return normalise(style, f"{name}_norm", z, train) if norm else z

        def finish(name, z, conv):
            h = act(z)
            if style.norm_after:
                h = normalise(style, f"{conv}_norm", h, train)
            return watched(self, name, h)

        x = finish("stem", conv("stem", x, self.channels[0]), "stem")
        for i, features in enumerate(self.channels):
            for j in range(2):
                stride = 2 if i > 0 and j == 0 else 1
                name = f"block_{i}_{j}"
                first, second = f"{name}_conv_0", f"{name}_conv_1"
                h = conv(
                    second, finish(first, conv(first, x, features, stride=stride), first), features
                )
                if x.shape != h.shape:
                    x = conv(f"{name}_shortcut", x, features, 1, stride, norm=True)
                x = finish(name, h + x, second)
        h = drop(self, style.dropout, x.mean((1, 2)), train)
        logits = Linear(self.classes, style.initializer, name="head")(h)
        return logits, hidden | {"head": logits}
