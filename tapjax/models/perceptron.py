"""Small network that estimates credits."""

import flax.linen as nn

from tapjax.models.layers import Linear


class Perceptron(nn.Module):
    """Perceptron with two hidden GELU layers.

    With `quiet`, the output layer has no bias and is initialised to zero, so that the initial
    output is zero.
    """

    width: int
    outputs: int
    quiet: bool = False

    @nn.compact
    def __call__(self, x):
        for i in range(2):
            x = nn.gelu(Linear(self.width, name=f"hidden_{i}")(x))
        if self.quiet:
            kernel = self.param("kernel", nn.initializers.zeros_init(), (x.shape[-1], self.outputs))
            return x @ kernel
        return Linear(self.outputs, name="output")(x)
