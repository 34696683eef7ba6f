import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.measure.singular_values import by_svd, spectra

pytestmark = pytest.mark.usefixtures("full_compile")


def exact(a, centred):
    a = np.asarray(a, np.float64)
    a = a - a.mean(0) if centred else a
    return np.linalg.svd(a, compute_uv=False)


@pytest.mark.parametrize("of", [spectra, by_svd], ids=["here", "accelerator"])
@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (30, 30)])
def test_both_spectra_match_float64(of, shape, getkey):
    a = jax.random.normal(getkey(), shape) + 3
    plain, centred = of(a, True)
    # A centred matrix has no more than N - 1 values above zero, so errors are judged absolutely.
    for found, wanted in ((plain, exact(a, False)), (centred, exact(a, True))):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, wanted, atol=1e-5 * wanted[0])
    assert len(of(a, False)) == 1


def test_precision_survives_batching_inside_a_scan(getkey):
    # Of rank 2, so that a float32 Gram matrix would show: its noise adds up over 58 zero values.
    left, right = jax.random.normal(getkey(), (2, 80, 2)), jax.random.normal(getkey(), (2, 2, 60))
    a = left @ right

    def scanned(a):
        return jax.lax.scan(lambda a, _: (2 * a, spectra(a, True)), a, None, 3)[1]

    plain, centred = jax.jit(jax.vmap(scanned))(a)
    for seed in range(2):
        for found, wanted in (
            (plain[seed, 0], exact(a[seed], False)),
            (centred[seed, 0], exact(a[seed], True)),
        ):
            np.testing.assert_allclose(found.sum(), wanted.sum(), rtol=2e-6)
    np.testing.assert_allclose(plain[:, 2], 4 * plain[:, 0], rtol=1e-5)


def test_float64_stays_inside(getkey):
    a = jax.random.normal(getkey(), (5, 4))
    assert jax.make_jaxpr(lambda a: spectra(a, True))(a).out_avals[0].dtype == jnp.float32
    assert (jnp.arange(3) / 2).dtype == jnp.float32
