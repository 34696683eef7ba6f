"""Every measure against a case whose value is known in closed form."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.mechanistic import metrics

RNG = np.random.default_rng(0)
UNIFORM = np.full((3, 2, 8, 8), 1 / 8)
PREVIOUS = np.broadcast_to(np.eye(8, k=-1) + np.eye(8)[:, :1] * np.eye(8)[:1], (3, 1, 8, 8))


def test_entropy_of_uniform_and_of_focused_attention():
    np.testing.assert_allclose(metrics.attention_entropy(UNIFORM), np.log(8))
    np.testing.assert_allclose(metrics.attention_entropy(PREVIOUS), 0)
    two = np.zeros((1, 1, 4, 4)) + [0.5, 0.5, 0, 0]
    np.testing.assert_allclose(metrics.attention_entropy(two), np.log(2))


@pytest.mark.parametrize("bad", [UNIFORM * 2, UNIFORM - 0.2, RNG.standard_normal((2, 1, 3, 3))])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="probabilities"):
        metrics.attention_entropy(bad)


def test_specialization_is_the_range_over_heads():
    both = np.concatenate([UNIFORM[:, :1], PREVIOUS], 1)
    found = metrics.attention_specialization(both)
    assert found["specialization_index"] == pytest.approx(np.log(8))
    assert found["mean_entropy"] == pytest.approx(np.log(8) / 2)
    assert found["max_possible"] == pytest.approx(np.log(8))
    assert metrics.attention_specialization(UNIFORM)["specialization_index"] == 0


def test_distance_and_similarity_of_heads():
    np.testing.assert_allclose(metrics.attention_distance(UNIFORM, UNIFORM), 0)
    np.testing.assert_allclose(metrics.attention_distance([0.5, 0.5, 0], [0, 0.5, 0.5]), 0.5)
    assert metrics.head_similarity(UNIFORM) == 1
    apart = np.stack([np.eye(8), np.roll(np.eye(8), 1, 1)])[None]
    assert metrics.head_similarity(apart) == 0
    assert np.isnan(metrics.head_similarity(PREVIOUS))


def test_where_heads_look():
    scores = metrics.positional_scores(PREVIOUS)
    assert scores["previous"] == 1 and scores["next"] == 0 and scores["itself"] == 1 / 8
    uniform = metrics.positional_scores(UNIFORM)
    for name in uniform:
        np.testing.assert_allclose(uniform[name], 1 / 8)
    repeats = np.zeros((1, 1, 8, 8))
    repeats[0, 0, np.arange(8), np.maximum(np.arange(8) - 3, 0)] = 1
    np.testing.assert_allclose(metrics.induction_score(repeats, 4), 1)
    np.testing.assert_allclose(metrics.induction_score(UNIFORM, 4), 1 / 8)


def test_cosine_and_weight_change():
    w = RNG.standard_normal((5, 4))
    assert metrics.cosine_similarity(w, 3 * w) == pytest.approx(1)
    assert metrics.cosine_similarity(w, -w) == pytest.approx(-1)
    assert metrics.cosine_similarity([1, 0], [0, 2]) == 0
    assert np.isnan(metrics.cosine_similarity(w, 0 * w))
    change = metrics.weight_change_magnitude(w, 1.1 * w)
    assert change["relative_change"] == pytest.approx(0.1)
    assert change["l2_norm"] == pytest.approx(0.1 * np.linalg.norm(w))
    assert change["max_change"] == pytest.approx(0.1 * np.abs(w).max())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_cka_ignores_rotation_and_scale(seed, scale):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 7))
    rotation, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    assert metrics.linear_cka(x, scale * x @ rotation + 3) == pytest.approx(1)
    assert metrics.linear_cka(x, y) == pytest.approx(metrics.linear_cka(y, x))
    assert abs(metrics.linear_cka(x, y)) < 0.5


def hsic_by_definition(k, m):
    """The U-statistic of Song et al. 2012, summed over all quadruples of different examples."""
    total, count = 0.0, 0
    for i, j, q, r in itertools.permutations(range(len(k)), 4):
        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
        count += 1
    return total / count


@pytest.mark.parametrize("n", [4, 5, 8])
def test_cka_is_the_ratio_of_u_statistics(n):
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((n, 3)), rng.standard_normal((n, 6))
    y[:, 0] += x[:, 0]
    k, m = x @ x.T, y @ y.T
    expected = hsic_by_definition(k, m)
    expected /= np.sqrt(hsic_by_definition(k, k) * hsic_by_definition(m, m))
    assert metrics.linear_cka(x, y) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("n,width", [(512, 512), (256, 4096)])
def test_cka_of_independent_representations_is_near_zero(n, width):
    x, y = np.random.default_rng(width).standard_normal((2, n, width))
    assert abs(metrics.linear_cka(x, y)) < 0.02
    assert metrics.linear_cka(x, -2 * x + 1) == pytest.approx(1)


def test_cka_of_independent_representations_has_mean_zero():
    pairs = np.random.default_rng(0).standard_normal((200, 2, 20, 30))
    values = np.array([metrics.linear_cka(x, y) for x, y in pairs])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)


def test_cka_of_constant_activations_and_of_few_examples():
    x = np.zeros((4, 1)) + [[1], [-1], [0], [0]]
    assert np.isnan(metrics.linear_cka(x[:3], x[:3]))
    assert metrics.linear_cka(1e-200 * x, 1e200 * x) == pytest.approx(1)
    assert np.isnan(metrics.linear_cka(x, np.ones((4, 2))))
    assert np.isnan(metrics.linear_cka(x, np.full((4, 2), 86.16243086)))  # only rounding is left


def test_principal_angles():
    x = RNG.standard_normal((50, 3))
    np.testing.assert_allclose(metrics.principal_angles(x, 2 * x, 3), 0, atol=1e-6)
    basis = np.linalg.qr(RNG.standard_normal((50, 4)) - 0)[0]
    basis = np.linalg.qr(basis - basis.mean(0))[0]
    turned = basis[:, :1] * np.cos(0.3) + basis[:, 2:3] * np.sin(0.3)
    np.testing.assert_allclose(metrics.principal_angles(basis[:, :1], turned, 1), 0.3, atol=1e-6)
    np.testing.assert_allclose(
        metrics.principal_angles(basis[:, :2], basis[:, 2:], 2), np.pi / 2, atol=1e-6
    )


def test_sparsity_moves_with_the_scale():
    a = RNG.standard_normal(100_000)
    assert metrics.activation_sparsity(a) == pytest.approx(0.0797, abs=0.003)
    assert metrics.activation_sparsity(1e-6 * a) == metrics.activation_sparsity(a)
    half = np.append(np.zeros(50), np.ones(50))
    assert metrics.activation_sparsity(half) == 0.5
    assert np.isnan(metrics.activation_sparsity(np.zeros(3)))


def test_selectivity_of_known_units():
    y = np.repeat(np.arange(4), 10)
    one_class, all_classes = (y == 2).astype(float), np.ones(40)
    three_to_one = np.where(y == 0, 3.0, 1.0)
    silent = -np.ones(40)
    found = metrics.class_selectivity(
        np.stack([one_class, all_classes, three_to_one, silent], 1), y
    )
    np.testing.assert_allclose(found, [1, 0, 0.5, np.nan])
    with pytest.raises(ValueError, match="two classes"):
        metrics.class_selectivity(np.ones((5, 1)), np.zeros(5))


def test_selectivity_of_noise_is_what_chance_gives():
    y = np.repeat(np.arange(5), 20)
    noise = RNG.standard_normal((100, 30))
    chance = metrics.selectivity_beyond_chance(noise, y, RNG)
    assert chance["p"] > 0.05 and abs(chance["selectivity"] - chance["chance"]) < 0.1
    planted = noise + 3 * (y[:, None] == np.arange(30)[None] % 5)
    real = metrics.selectivity_beyond_chance(planted, y, RNG)
    assert real["p"] < 0.05 and real["selectivity"] > 2 * real["chance"]


def test_differentiation_of_orthogonal_and_of_equal_filters():
    apart = metrics.filter_differentiation(np.eye(6))
    assert apart == {"similarity": 0, "orthogonality": 1, "rank": pytest.approx(6)}
    alike = metrics.filter_differentiation(np.ones((6, 9)) * np.arange(1, 7)[:, None])
    assert alike["similarity"] == pytest.approx(1) and alike["rank"] == pytest.approx(1)
    assert alike["orthogonality"] == pytest.approx(0, abs=1e-7)
    assert metrics.filter_differentiation(np.zeros((3, 4)))["rank"] == 0


def test_turnover_births_and_deaths():
    before, after = np.arange(20), np.arange(20)[::-1]
    assert metrics.feature_turnover(before, before) == 0
    assert metrics.feature_turnover(before, after) == 1
    assert metrics.feature_turnover([3, 2, 1, 0], [3, 0, 2, 1], 0.5) == pytest.approx(2 / 3)
    moved = metrics.births_and_deaths([0, 0, 0.3, 0.5], [0, 0.1, 0, 0.2])
    assert moved == {"born": 1, "died": 1, "dead": 2}


@settings(max_examples=30, deadline=None)
@given(arrays(float, (6, 4), elements=st.floats(-100, 100)))
def test_ranges_hold_for_anything(a):
    y = np.arange(6) % 3
    selectivity = metrics.class_selectivity(a, y)
    assert ((selectivity >= 0) & (selectivity <= 1) | np.isnan(selectivity)).all()
    sparsity = metrics.activation_sparsity(a)
    assert np.isnan(sparsity) or 0 <= sparsity <= 1
    found = metrics.filter_differentiation(a)
    assert np.isnan(found["similarity"]) or 0 <= found["similarity"] <= 1 + 1e-9
    cka = metrics.linear_cka(a, a[::-1])
    assert np.isnan(cka) or -1 - 1e-9 <= cka <= 1 + 1e-9
