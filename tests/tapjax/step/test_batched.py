import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.step.batched import examples_at_once, in_parts


@pytest.mark.parametrize("at_once", [1, 3, 4, 7, 10, 100])
def test_parts_give_what_the_whole_gives(at_once, getkey):
    xs = (jax.random.normal(getkey(), (10, 3)), jnp.arange(10))
    whole = in_parts(lambda xs: (xs[0] * 2, xs[0].sum(1) + xs[1]), xs, 10)
    parts = in_parts(lambda xs: (xs[0] * 2, xs[0].sum(1) + xs[1]), xs, at_once)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_larger_layers_make_smaller_parts():
    def network(width):
        return lambda x: (x @ jnp.ones((4, width)), x)

    x = jnp.ones((1000, 4))
    assert examples_at_once(network(8), x) == 16 * examples_at_once(network(128), x)
    assert examples_at_once(network(2**28), x) == 1
