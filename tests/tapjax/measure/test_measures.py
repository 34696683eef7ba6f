"""Each measure against its closed form, or against an oracle in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.measure import collapse, curvature, intrinsic_dimension
from tapjax.measure.measures import MEASURES
from tapjax.types import Batch, DeviceData, Model, TrainState

N, P, D, C = 200, 60, 5, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)).astype(np.float32)
Y = RNG.integers(C, size=N)
PROBE = Batch(jnp.asarray(X[:P]), jnp.asarray(Y[:P]))
KEY = jax.random.key(0)


def data():
    return DeviceData(jnp.asarray(X), jnp.asarray(Y), PROBE, jnp.zeros(D), jnp.ones(D))


def linear_model():
    """Outputs x W, with one hidden layer that is the input."""

    def apply(params, stats, x, key=None):
        outputs = x @ params["kernel"]
        return outputs, (x, outputs), stats

    return Model(lambda key: None, apply, ("hidden", "head"))


def state_of(params):
    return TrainState(jnp.zeros((), int), params, {}, (), (), KEY)


def squared(outputs, batch):
    target = batch.y[:, None] == jnp.arange(C)[None]
    return 0.5 * jnp.square(outputs - target).sum(-1)


def entropy(outputs, batch):
    right = batch.y[:, None] == jnp.arange(outputs.shape[-1])[None]
    return -jnp.where(right, jax.nn.log_softmax(outputs), 0).sum(-1)


W = RNG.standard_normal((D, C)).astype(np.float32)
TARGET = (Y[:, None] == np.arange(C)).astype(float)


def measured(name, loss=squared, **more):
    found = MEASURES[name].apply(
        linear_model(), loss, state_of({"kernel": jnp.asarray(W)}), data(), KEY, **more
    )
    return {key: np.asarray(value, float) for key, value in found.items()}


def test_noise_scale_of_linear_regression():
    found = measured("noise_scale")
    error = X.astype(float) @ W - TARGET
    g = (X[:, :, None] * error[:, None]).reshape(N, -1).astype(float)  # of each example
    trace = g.var(0, ddof=1).sum()
    square = np.square(g.mean(0)).sum() - trace / N
    halves = [g[0::2].mean(0), g[1::2].mean(0)]
    cosine = halves[0] @ halves[1] / np.linalg.norm(halves[0]) / np.linalg.norm(halves[1])
    np.testing.assert_allclose(found["trace"], trace, rtol=1e-5)
    np.testing.assert_allclose(found["square"], square, rtol=1e-5)
    np.testing.assert_allclose(found["noise_scale"], trace / square, rtol=1e-5)
    np.testing.assert_allclose(found["halves"], cosine, rtol=1e-5)
    signal = np.linalg.norm(g.mean(0)) / trace**0.5
    np.testing.assert_allclose(found["signal"], [signal], rtol=1e-5)


def test_the_estimate_of_the_squared_gradient_has_no_bias():
    """Without a gradient, the squared norm of its estimate is 0 on average, not trace / n."""
    found = []
    for seed in range(300):
        x = np.random.default_rng(seed).standard_normal((40, 4))
        trace = x.var(0, ddof=1).sum()
        found.append(np.square(x.mean(0)).sum() - trace / 40)
    assert abs(np.mean(found)) < 4 * np.std(found) / 300**0.5


def test_curvature_of_linear_regression():
    """The Hessian is X^T X / N for each of the C outputs."""
    found = measured("curvature")
    eigenvalues = np.linalg.eigvalsh(X.astype(float).T @ X / N)
    np.testing.assert_allclose(found["top"][0], eigenvalues[-1], rtol=1e-5)
    np.testing.assert_allclose(found["bottom"], eigenvalues[0], rtol=1e-4)
    assert abs(found["trace"] - C * eigenvalues.sum()) < 4 * found["trace_error"] + 1e-5
    assert found["density"].sum() == pytest.approx(1, rel=1e-5)
    # Every point of the density lies at an eigenvalue.
    heavy = found["ritz"][found["density"] > 1e-4]
    assert np.abs(heavy[:, None] - eigenvalues).min(1).max() < 1e-3


@pytest.mark.parametrize("count", [8, 20, 40])
def test_lanczos_against_a_dense_matrix(count):
    q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((40, 40)))
    wanted = np.sort(np.concatenate([[-3, 9, 10.5], np.linspace(-1, 1, 37)]))
    matrix = jnp.asarray(q @ np.diag(wanted) @ q.T, jnp.float32)
    start = jax.random.normal(KEY, (40,))
    values, weights = curvature.lanczos(lambda v: matrix @ v, start, count)
    np.testing.assert_allclose(values[-1], 10.5, rtol=1e-4)
    np.testing.assert_allclose(values[0], -3, rtol=1e-3)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
    # The moments of the density are those that the start vector sees.
    v = np.asarray(start, float) / np.linalg.norm(start)
    for power in (1, 2, 3):
        moment = v @ np.linalg.matrix_power(np.asarray(matrix, float), power) @ v
        np.testing.assert_allclose(weights @ values**power, moment, rtol=1e-3, atol=1e-3)


def test_lanczos_in_an_invariant_subspace_adds_no_eigenvalue():
    values, weights = curvature.lanczos(lambda v: 4.0 * v, jnp.ones(6), 6)
    np.testing.assert_allclose(values, 4, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)


def test_the_kernel_of_a_linear_network():
    """K(x, x') = C x . x', whatever the weights."""
    found = measured("kernel")
    x = X[:P].astype(float)
    kernel = C * x @ x.T
    np.testing.assert_allclose(found["kernel"], kernel, rtol=1e-4, atol=1e-4)
    eigenvalues = np.linalg.eigvalsh(kernel)
    rank = eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()
    np.testing.assert_allclose(found["effective_rank"], rank, rtol=1e-4)
    centre = np.eye(P) - 1 / P
    a, b = centre @ kernel @ centre, centre @ (Y[:P, None] == Y[:P]) @ centre
    alignment = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(found["alignment"], alignment, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["top_share"], eigenvalues[-1] / eigenvalues.sum(), rtol=1e-4)


def test_the_alignment_of_a_kernel_that_knows_the_classes_is_one():
    one_hot = TARGET[:P] * 2
    x = np.zeros((P, D), np.float32)
    x[:, :C] = one_hot
    probe = PROBE._replace(x=jnp.asarray(x))
    found = MEASURES["kernel"].apply(
        linear_model(), squared, state_of({"kernel": jnp.asarray(W)}), data()._replace(probe=probe),
        KEY,
    )  # fmt: skip
    np.testing.assert_allclose(found["alignment"], 1, rtol=1e-5)


def test_examples():
    found = measured("examples", entropy)
    logits = X[:P].astype(float) @ W
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    y = Y[:P]
    np.testing.assert_allclose(found["loss"], -np.log(p[np.arange(P), y]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found["el2n"], np.linalg.norm(p - TARGET[:P], axis=1), rtol=1e-4, atol=1e-5
    )
    assert ((found["margin"] > 0) == (found["correct"] == 1)).all()
    assert (found["correct"] == (logits.argmax(1) == y)).all()


def test_collapsed_classes_have_zeros():
    simplex = np.eye(C) - 1 / C
    h = jnp.asarray(3 * simplex[Y[:P]] @ RNG.standard_normal((C, C)) * 0 + 3 * simplex[Y[:P]] + 2)
    found = collapse.collapse(h, jnp.asarray(TARGET[:P].T))
    for name, value in found.items():
        np.testing.assert_allclose(value, 0, atol=1e-5, err_msg=name)


def test_the_variability_of_classes_against_the_definition():
    y = np.repeat(np.arange(C), 20)
    h = RNG.standard_normal((60, 7)) + 2 * RNG.standard_normal((C, 7))[y]
    means = np.stack([h[y == c].mean(0) for c in range(C)])
    within = (h - means[y]).T @ (h - means[y]) / 60
    between = (means - means.mean(0)).T @ (means - means.mean(0)) / C
    wanted = np.trace(within @ np.linalg.pinv(between, rcond=1e-6)) / C
    member = (np.arange(C)[:, None] == y).astype(np.float32)
    found = collapse.collapse(jnp.asarray(h, jnp.float32), jnp.asarray(member))
    np.testing.assert_allclose(found["nc1"], wanted, rtol=1e-4)
    apart = means - means.mean(0)
    norms = np.linalg.norm(apart, axis=1)
    np.testing.assert_allclose(found["nc2_norms"], norms.std() / norms.mean(), rtol=1e-4)
    cosines = (apart @ apart.T / norms / norms[:, None])[~np.eye(C, dtype=bool)]
    np.testing.assert_allclose(found["nc2_angles"], np.abs(cosines + 1 / (C - 1)).mean(), rtol=1e-4)


def test_a_class_without_examples_does_not_count():
    y = np.repeat([0, 2], 20)
    h = RNG.standard_normal((40, 4)).astype(np.float32)
    few = collapse.collapse(jnp.asarray(h), jnp.asarray((np.array([[0], [2]]) == y).astype("f4")))
    all_ = collapse.collapse(jnp.asarray(h), jnp.asarray((np.arange(C)[:, None] == y).astype("f4")))
    for name in few:
        np.testing.assert_allclose(all_[name], few[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_dimension_of_a_plane_in_a_larger_space(dimension):
    rng = np.random.default_rng(dimension)
    flat = rng.standard_normal((600, dimension)) @ rng.standard_normal((dimension, 20))
    found = intrinsic_dimension.two_nn(jnp.asarray(flat, jnp.float32))
    assert abs(found["two_nn"] - dimension) < 4 * found["error"]
    scaled = intrinsic_dimension.two_nn(jnp.asarray(1e3 * flat + 5, jnp.float32))
    np.testing.assert_allclose(scaled["two_nn"], found["two_nn"], rtol=1e-2)


def test_curved_manifolds_and_repeated_examples():
    """A circle has one dimension, although its linear spread is two."""
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 500)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    found = intrinsic_dimension.two_nn(jnp.asarray(circle))
    assert abs(found["two_nn"] - 1) < 4 * found["error"]
    repeated = intrinsic_dimension.two_nn(jnp.asarray(np.concatenate([circle, circle[:50]])))
    assert np.isfinite(repeated["two_nn"])
    constant = intrinsic_dimension.two_nn(jnp.ones((20, 3)))
    assert np.isnan(constant["two_nn"])


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_works_under_jit_and_says_what_it_answers(name):
    measure = MEASURES[name]

    @jax.jit
    def run(params):
        return measure.apply(linear_model(), entropy, state_of(params), data(), KEY)

    found = run({"kernel": jnp.asarray(W)})
    plain = measured(name, entropy)
    for key, value in found.items():
        if key != "density":  # equal eigenvalues may share it in another way
            np.testing.assert_allclose(value, plain[key], rtol=2e-3, atol=1e-4, err_msg=key)
    assert measure.cost > 0 and ":" in measure.help
    assert "Question:" in __import__(measure.apply.__module__, fromlist="x").measure.__doc__
