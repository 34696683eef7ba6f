"""Each measure against its closed form, or against an oracle in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tapjax.contract.architectures import parse_architecture
from tapjax.measure import barrier, collapse, curvature, llc, weight_spectrum
from tapjax.measure.measures import MEASURES
from tapjax.measure.moments import moment
from tapjax.models.zoo import build, own_style
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


MECHANISMS = ("fourier", "heads", "head_ablation")  # of other data, see test_mechanisms.py


@pytest.mark.parametrize(
    "name",
    [n for n, each in MEASURES.items() if each.apply and not each.pairs and n not in MECHANISMS],
)
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


@pytest.mark.parametrize("name", [name for name, each in MEASURES.items() if each.apply])
def test_a_measure_says_what_it_costs_and_answers(name):
    measure = MEASURES[name]
    assert measure.cost > 0 and ":" in measure.help
    assert "Question:" in __import__(measure.apply.__module__, fromlist="x").measure.__doc__


def test_the_trace_of_a_matrix_whose_large_eigenvalues_are_few():
    """Hutch++ finds the few large ones exactly; its error is that of the rest."""
    rng = np.random.default_rng(3)
    q, _ = np.linalg.qr(rng.standard_normal((200, 200)))
    values = np.concatenate([[50, 30, 20], rng.uniform(0, 0.01, 197)])
    matrix = jnp.asarray(q @ np.diag(values) @ q.T, jnp.float32)
    found = curvature.trace(lambda v: matrix @ v, KEY, 200)
    assert abs(found["trace"] - values.sum()) < 4 * found["trace_error"] + 1e-3
    assert found["trace_error"] < 0.1  # 200 random signs alone have an error of about 5
    small = curvature.trace(lambda v: 2 * v, KEY, 3)
    np.testing.assert_allclose(small["trace"], 6, rtol=1e-5)


def test_the_preconditioned_curvature_of_linear_regression():
    """The Hessian is X^T X / N for each output, and Adam's second moment is 4 everywhere."""
    params = {"kernel": jnp.asarray(W)}
    opt = optax.adam(1e-3).init(params)
    opt = optax.tree_utils.tree_set(opt, nu={"kernel": jnp.full((D, C), 4.0)})
    state = state_of(params)._replace(opt=opt)
    found = MEASURES["curvature"].apply(linear_model(), squared, state, data(), KEY)
    largest = np.linalg.eigvalsh(X.astype(float).T @ X / N)[-1]
    np.testing.assert_allclose(found["preconditioned_top"][0], largest / 2, rtol=1e-4)
    assert "preconditioned_top" not in measured("curvature")


def test_the_head_of_a_collapsed_network_points_to_the_class_means():
    simplex = np.eye(C) - 1 / C
    h = jnp.asarray(3 * simplex[Y[:P]] + 2, jnp.float32)
    member = jnp.asarray(TARGET[:P].T, jnp.float32)
    np.testing.assert_allclose(
        collapse.duality(h, member, jnp.asarray(simplex.T * 7 + 1)), 0, atol=1e-5
    )
    opposite = collapse.duality(h, member, jnp.asarray(-simplex.T))
    np.testing.assert_allclose(opposite, 2, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of powerlaw, about itself
@pytest.mark.parametrize("alpha", [1.8, 2.5, 2.9])
def test_power_laws_are_those_of_the_package_powerlaw(alpha):
    powerlaw = pytest.importorskip("powerlaw")
    rng = np.random.default_rng(int(10 * alpha))
    # The head of the sample follows no power law.
    sample = np.concatenate(
        [(1 - rng.uniform(size=300)) ** (-1 / (alpha - 1)), rng.uniform(size=100)]
    )
    found = weight_spectrum.power_law(jnp.asarray(sample, jnp.float32))
    assert abs(found["alpha"] - alpha) < 4 * found["alpha_error"]
    fit = powerlaw.Fit(sample, verbose=False)
    assert fit.power_law.n == found["tail"]
    np.testing.assert_allclose(found["alpha"], fit.power_law.alpha, rtol=1e-4)
    np.testing.assert_allclose(found["distance"], fit.power_law.D, atol=1e-4)


def test_power_laws_are_those_of_weightwatcher():
    # `alpha`, `D` and `num_pl_spikes` of weightwatcher 0.7.7, analyze(min_evals=20), for linear
    # layers with these weights. They change only if its method changes.
    rng = np.random.default_rng(0)
    heavy = rng.standard_t(3, (200, 100))
    noise = rng.normal(size=(300, 120))
    low_rank = rng.normal(size=(256, 10)) @ rng.normal(size=(10, 128))
    spiked = low_rank + rng.normal(size=(256, 128))
    theirs = [(5.024818, 0.077231, 11), (4.267845, 0.147647, 36), (1.595065, 0.152697, 113)]
    for w, (alpha, distance, tail) in zip((heavy, noise, spiked), theirs, strict=True):
        squares = np.square(np.linalg.svd(w.astype(np.float32), compute_uv=False))
        found = weight_spectrum.power_law(jnp.asarray(squares))
        np.testing.assert_allclose(found["alpha"], alpha, rtol=1e-4)
        np.testing.assert_allclose(found["distance"], distance, atol=1e-5)
        assert found["tail"] == tail


def test_planted_directions_are_spikes_and_random_matrices_have_none():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((300, 200))
    u, v = rng.standard_normal((4, 300)), rng.standard_normal((4, 200))
    planted = noise + 0.3 * (u.T @ v)
    params = {"a": jnp.asarray(noise, jnp.float32), "b": jnp.asarray(planted, jnp.float32)}
    found = weight_spectrum.measure(None, None, state_of(params), None, KEY)
    assert found["spikes"][0] <= 1 and found["spikes"][1] == 4
    assert (found["random_spikes"] <= 1).all()
    small = weight_spectrum.measure(None, None, state_of({"a": jnp.eye(5)}), None, KEY)
    assert np.isnan(small["alpha"][0]) and small["spikes"].shape == (1,)


def sampled_llc(cost, size, localisation=0.0, step=1e-3, draws=20_000, temperature=100.0):
    losses = llc.langevin(
        lambda w, key: cost(w), jnp.zeros(size), KEY, temperature, 4, draws, step, localisation
    )
    return llc.coefficient(losses, cost(jnp.zeros(size)), temperature)


def rank_one(w):
    """Squared error of the linear network x a b^T for the true map 0, with inputs of variance 1."""
    return 0.5 * jnp.vdot(w[:3], w[:3]) * jnp.vdot(w[3:], w[3:])


@pytest.mark.parametrize(
    ("cost", "size", "options", "true"),
    [
        (lambda w: 0.5 * w @ w, 8, {}, 4.0),  # regular: d / 2
        (lambda w: w[0] ** 4 + w[1] ** 4, 2, {"step": 4e-3}, 0.5),  # 1 / 4 each
        (lambda w: (w @ w) ** 2, 4, {}, 1.0),  # d / 4
        # Directions of curvature h count 1/2 n beta h / (n beta h + localisation).
        (lambda w: 0.5 * (w[0] ** 2 + 0.1 * w[1] ** 2), 2, {"localisation": 10.0}, 0.4545 + 0.25),
    ],
)
def test_learning_coefficients_that_are_known(cost, size, options, true):
    found = sampled_llc(cost, size, **options)
    assert abs(found["llc"] - true) < 4 * found["error"] + 0.05 * true, found


@pytest.mark.slow
def test_the_learning_coefficient_of_reduced_rank_regression():
    """Of a map of rank 0 from 3 to 3 units through one, it is 3 / 2, not 6 / 2 (Aoyagi 2005)."""
    found = sampled_llc(rank_one, 6, localisation=1.0, step=1e-3, draws=100_000, temperature=2000.0)
    assert abs(found["llc"] - 1.5) < 0.25, found
    assert found["llc"] < 2.5


def test_chains_that_diverge_have_no_coefficient():
    found = sampled_llc(lambda w: 1e6 * w @ w, 2, draws=200)
    assert np.isnan(found["llc"]) and np.isnan(found["error"])


def test_the_coefficient_of_linear_regression_with_a_network():
    found = measured("llc")
    assert np.isfinite(found["llc"]) and found["error"] > 0


def test_representations_are_the_activations():
    found = measured("representation")
    np.testing.assert_array_equal(found["hidden"], X[:P])
    np.testing.assert_allclose(found["head"], X[:P] @ W, rtol=1e-4, atol=1e-5)


def test_dimensions_are_those_of_the_probe():
    found = measured("dimension", entropy)
    s = np.linalg.svd(X[:P].astype(float), compute_uv=False)
    np.testing.assert_allclose(
        found["participation_ratio"][0], s.sum() ** 2 / np.square(s).sum(), rtol=1e-5
    )
    np.testing.assert_allclose(found["accuracy"], measured("examples", entropy)["correct"].mean())


def permuted(params):
    """The same MLP with the units of both hidden layers in another order."""
    rng = np.random.default_rng(5)
    p, q = rng.permutation(12), rng.permutation(12)
    first, second, head = (params[name] for name in ("hidden_0", "hidden_1", "head"))
    return {
        "hidden_0": {"kernel": first["kernel"][:, p], "bias": first["bias"][p]},
        "hidden_1": {"kernel": second["kernel"][p][:, q], "bias": second["bias"][q]},
        "head": {"kernel": head["kernel"][q], "bias": head["bias"]},
    }


def test_the_barrier_to_a_permuted_copy_vanishes_after_matching():
    arch = parse_architecture("mlp:widths=12-12")
    model = build(arch, (1, D, 1), C, own_style(arch))
    params, stats = model.init(KEY)
    params = jax.tree.map(lambda w: 3 * w, params)
    states = [state_of(p)._replace(stats=stats) for p in (params, permuted(params))]
    one = jnp.ones(1)
    images = data()._replace(x=jnp.asarray(X.reshape(N, 1, D, 1)), mean=0 * one, std=one)

    def apart(outputs, batch):  # 0 at both ends
        return jnp.square(outputs - model.apply(params, stats, batch.x)[0]).sum(1)

    found = barrier.measure(model, apart, *states, images, KEY)
    assert found["barrier"] > 0.05 and abs(found["matched"]) < 1e-5, found
    here = jax.tree.map(np.asarray, (params, stats))
    aligned, _ = barrier.matched(model.units(params, stats), here, (permuted(params), stats))
    jax.tree.map(np.testing.assert_array_equal, aligned, here[0])
    other, _ = model.init(jax.random.key(1))
    aligned, _ = barrier.matched(model.units(params, stats), here, (other, stats))
    x = images.x[:7]
    np.testing.assert_allclose(  # matching changes no function
        model.apply(aligned, stats, x)[0], model.apply(other, stats, x)[0], rtol=1e-4, atol=1e-5
    )


def test_a_convex_loss_has_no_barrier():
    ends = [{"kernel": jnp.asarray(W)}, {"kernel": jnp.asarray(-W)}]
    found = barrier.measure(linear_model(), squared, *map(state_of, ends), data(), KEY)
    assert found["barrier"] < 1e-5 and np.isnan(found["matched"])


def test_the_manifolds_of_classes_against_their_covariances():
    y = np.repeat(np.arange(C), 20)
    rng = np.random.default_rng(3)
    h = rng.standard_normal((60, 7)) * np.linspace(0.2, 2, 7) + 2 * rng.standard_normal((C, 7))[y]
    member = (np.arange(C)[:, None] == y).astype(np.float32)
    found = collapse.manifolds(jnp.asarray(h, jnp.float32), jnp.asarray(member))
    means = np.stack([h[y == c].mean(0) for c in range(C)])
    for c in range(C):
        covariance = np.cov(h[y == c].T, bias=True)
        dimension = np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
        radius = np.sqrt(np.trace(covariance)) / np.linalg.norm(means[c] - means.mean(0))
        np.testing.assert_allclose(found["class_dimension"][c], dimension, rtol=1e-4)
        np.testing.assert_allclose(found["class_radius"][c], radius, rtol=1e-4)
    points = collapse.manifolds(jnp.asarray(means[y], jnp.float32), jnp.asarray(member))
    np.testing.assert_allclose(points["class_radius"], 0, atol=1e-3)


def test_the_gradient_along_the_momentum():
    error = X.astype(float) @ W - TARGET
    g = (X[:, :, None] * error[:, None]).mean(0)
    past = RNG.standard_normal((D, C))
    opt = optax.trace(0.9).init({"kernel": jnp.asarray(W)})
    opt = opt._replace(trace={"kernel": jnp.asarray(past, jnp.float32)})
    state = state_of({"kernel": jnp.asarray(W)})._replace(opt=opt)
    found = MEASURES["noise_scale"].apply(linear_model(), squared, state, data(), KEY)
    cosine = (g * past).sum() / np.linalg.norm(g) / np.linalg.norm(past)
    np.testing.assert_allclose(found["along_moment"], cosine, rtol=1e-4)
    assert "along_moment" not in measured("noise_scale")


def test_a_layer_is_flattened_if_its_head_does_not_average():
    """Classes that differ only in where a pixel is bright collapse if they are flattened."""
    arch = parse_architecture("cnn:channels=1")
    model = build(arch, (4, 4, 1), 2, own_style(arch))
    params, stats = model.init(KEY)
    y = jnp.asarray(np.repeat([0, 1], 20))
    images = jnp.zeros((40, 4, 4, 1)).at[:20, 0, 0].set(5.0).at[20:, 3, 3].set(5.0)
    state = state_of(params)._replace(stats=stats)
    some = data()._replace(probe=Batch(images, y))
    found = MEASURES["collapse"].apply(model, entropy, state, some, KEY)
    np.testing.assert_allclose(found["nc1"], 0, atol=1e-5)
    assert found["nc4"] >= 0 and "nc3" not in found  # the head sees pooled activations


def test_moments_of_optimizers_of_parts_and_of_parameters_called_mu():
    params = {"mu": jnp.ones(3), "b": jnp.ones((2, 2))}
    labels = {"mu": "one", "b": "two"}
    tx = optax.partition({"one": optax.adam(1e-3), "two": optax.adam(1e-2)}, labels)
    _, opt = tx.update(params, tx.init(params), params)
    found = moment(opt, params, ("mu",))
    jax.tree.map(lambda m: np.testing.assert_allclose(m, 0.1, rtol=1e-5), found)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    assert moment(optax.sgd(0.1).init(params), params, ("mu", "trace")) is None
    half = optax.partition({"one": optax.adam(1e-3), "two": optax.sgd(1e-2)}, labels)
    assert moment(half.init(params), params, ("mu",)) is None  # not of all parameters


def test_a_constant_matrix_has_no_power_law():
    for matrix in (jnp.zeros((40, 30)), jnp.full((40, 30), jnp.nan)):
        found = weight_spectrum.measure(None, None, state_of({"a": matrix}), None, KEY)
        assert np.isnan(found["alpha"]).all() and np.isnan(found["distance"]).all()
