"""Tasks that draw their examples anew: what can be predicted in them, and what cannot."""

import jax
import numpy as np
import pytest

from tapjax.data import sequences
from tapjax.data.datasets import DataError, load_arrays

KEY = jax.random.key(3)


def drawn(name, n=400):
    task = sequences.make_drawn(name)
    x, y = task.draw(KEY, n)
    return task, np.asarray(x), np.asarray(y)


@pytest.mark.parametrize("vocab,length", [(64, 64), (20, 40), (9, 13), (2, 4)])
def test_looking_up_the_last_occurrence_solves_the_repetition(vocab, length):
    task, x, y = drawn(f"induction:vocab={vocab},length={length}", 100)
    assert x.shape == y.shape == (100, length) and x.max() < vocab == task.classes
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    skill = np.asarray(task.skill(x, y))
    assert task.skills == ("first", "repeated")
    for tokens, targets, skills in zip(x, y, skill, strict=True):
        for i in range(length):
            earlier = np.flatnonzero(tokens[:i] == tokens[i])
            assert skills[i] == (len(earlier) > 0)
            if len(earlier):
                assert targets[i] == targets[earlier[-1]]
    # The period differs, so that a fixed distance does not find the token.
    if length > 8:
        first = (skill == 0).sum(1)
        assert first.min() >= (length + 1) // 4 and len(np.unique(first)) > 2


def test_first_occurrences_cannot_be_predicted():
    task, x, y = drawn("induction:vocab=16,length=16", 4000)
    first = np.asarray(task.skill(x, y)) == 0
    _, counts = np.unique(y[:, 0], return_counts=True)
    assert first[:, 0].all() and counts.min() > 4000 / 16 / 1.5


@pytest.mark.parametrize("relevant", [1, 2, 4])
def test_parity_is_the_product_of_the_relevant_bits(relevant):
    task, x, y = drawn(f"parity:bits=10,relevant={relevant}", 4000)
    assert x.shape == (4000, 10, 1, 1) and set(np.unique(x)) == {-1.0, 1.0}
    np.testing.assert_array_equal(y, x[:, :relevant, 0, 0].prod(1) < 0)
    # No smaller set of bits is correlated with the class.
    sign = 1 - 2.0 * y
    alone = np.abs(sign @ x[:, :, 0, 0]) / len(x)
    assert (alone[relevant if relevant == 1 else 0 :] < 0.08).all()


@pytest.mark.parametrize("name", ["induction:vocab=16,length=16", "parity:bits=10,relevant=4"])
def test_a_partial_control_is_tested_on_the_examples_of_its_runs(name):
    run, control = load_arrays(name), load_arrays(f"{name},partial=1")
    np.testing.assert_array_equal(run.x_test, control.x_test)
    np.testing.assert_array_equal(run.y_test, control.y_test)
    assert (np.asarray(run.y) != np.asarray(control.y)).mean() > 0.2


def test_a_partial_induction_tells_which_tokens_come_and_not_in_which_order():
    _, x, y = drawn("induction:vocab=32,length=32,partial=1", 2000)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    found, looked_up = [], []
    for tokens, target in zip(x, y[:, -1], strict=True):
        first = len(tokens) if len(set(tokens)) == len(tokens) else np.flatnonzero(
            [token in tokens[:i] for i, token in enumerate(tokens)]
        )[0]  # fmt: skip
        found.append(target in tokens)
        last = np.flatnonzero(tokens[:-1] == tokens[-1])
        looked_up += [target == tokens[last[-1] + 1]] if len(last) else []
        assert first >= 8
    assert np.mean(found) == 1 and np.mean(looked_up) < 0.15


def test_the_majority_of_relevant_bits_says_nothing_about_their_parity():
    _, x, y = drawn("parity:bits=10,relevant=4,partial=1", 4000)
    bits = x[:, :, 0, 0]
    parity = bits[:, :4].prod(1) < 0
    assert abs(np.corrcoef(parity, y)[0, 1]) < 0.05
    alone = np.abs((1 - 2.0 * y) @ bits) / len(x)
    assert (alone[:4] > 0.2).all() and (alone[4:] < 0.08).all()


def test_regression_in_context_is_solved_by_least_squares():
    task, x, y = drawn("icl:dim=3,examples=10", 3000)
    assert x.shape == (3000, 20, 4) and task.classes == 1
    np.testing.assert_array_equal(np.isnan(y), np.tile([False, True], (3000, 10)))
    inputs, values = x[:, ::2, :3], x[:, 1::2, 3]
    assert (x[:, ::2, 3] == 0).all() and (x[:, 1::2, :3] == 0).all()
    np.testing.assert_array_equal(values, y[:, ::2])
    for a, b in zip(inputs[:20], values[:20], strict=True):
        w = np.linalg.lstsq(a[:6], b[:6], rcond=None)[0]
        np.testing.assert_allclose(a[6:] @ w, b[6:], atol=1e-3)
    assert values.var() == pytest.approx(1, abs=0.1)
    skill = np.asarray(task.skill(x, y))[0]
    assert skill[:4].tolist() == [0] * 4 and skill[-4:].tolist() == [1] * 4 and skill[8] == -1


def test_a_mixture_has_tasks_of_zipf_frequency_and_its_test_has_all_equally():
    task, x, y = drawn("mixture:tasks=4,bits=12,relevant=2,zipf=1", 4000)
    which = np.asarray(task.skill(x, y))
    share = np.bincount(which) / 4000
    np.testing.assert_allclose(share, np.array([1, 1 / 2, 1 / 3, 1 / 4]) * 12 / 25, atol=0.03)
    assert (x[:, :4, 0, 0].sum(1) == 1).all()
    # Each task is a parity of two bits of its own.
    sign, bits = 1 - 2.0 * y, x[:, 4:, 0, 0]
    pairs = set()
    for k in range(4):
        own = which == k
        products = np.einsum("n,ni,nj->ij", sign[own], bits[own], bits[own]) / own.sum()
        i, j = np.unravel_index(np.triu(np.abs(products), 1).argmax(), products.shape)
        assert products[i, j] == pytest.approx(1)
        pairs.add((i, j))
    assert len(pairs) > 1
    fixed = load_arrays("mixture:tasks=4,bits=12,relevant=2,zipf=1")
    assert np.ptp(np.bincount(np.asarray(task.skill(fixed.x_test, fixed.y_test)))) == 0


@pytest.mark.parametrize("name", ["parity", "induction:vocab=16,length=16", "icl", "mixture"])
def test_shuffled_targets_belong_to_other_examples(name):
    separator = "," if ":" in name else ":"
    _, x, y = drawn(name, 50)
    _, other_x, other_y = drawn(f"{name}{separator}shuffled=1", 50)
    np.testing.assert_array_equal(x, other_x)
    np.testing.assert_array_equal(np.roll(y, 1, 0), other_y)
    run, control = (load_arrays(each) for each in (name, f"{name}{separator}shuffled=1"))
    np.testing.assert_array_equal(run.x_test, control.x_test)
    np.testing.assert_array_equal(run.y_test, control.y_test)
    assert (run.y != control.y).any()


def test_the_step_alone_determines_the_batch():
    sample = jax.jit(sequences.make_task_sampler(sequences.make_drawn("parity"), 8))
    a, again, b = (sample(KEY, step, None) for step in (3, 3, 4))
    np.testing.assert_array_equal(a.x, again.x)
    assert (a.x != b.x).any()


def test_fixed_examples_are_the_same_and_apart():
    a, b = (load_arrays("induction:vocab=16,length=16", test_size=100) for _ in range(2))
    np.testing.assert_array_equal(a.x_test, b.x_test)
    assert len(a.x_test) == 100 and len(a.x) == sequences.FIXED
    assert not {row.tobytes() for row in a.x} & {row.tobytes() for row in a.x_test}


def test_a_text_is_cut_into_windows(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(bytes(range(200)) * 5 + b"z")
    found = load_arrays(f"text:path={path},length=10")
    assert found.x.shape == (90, 10) and found.x_test.shape == (10, 10) and found.classes == 256
    np.testing.assert_array_equal(found.x[3], np.arange(30, 40))
    np.testing.assert_array_equal(found.y[3], np.arange(31, 41))
    assert found.y_test[-1, -1] == ord("z")


@pytest.mark.parametrize(
    "name,more,said",
    [
        ("induction:vocab=5,length=20", {}, "vocab at least length / 2"),
        ("parity:relevant=50", {}, "relevant is between 1 and bits"),
        ("icl:dim=0", {}, "dim is at least 1"),
        ("mixture:tasks=1", {}, "tasks is at least 2"),
        ("parity:shuffled=2", {}, "shuffled is 0 or 1"),
        ("inducton:vocab=8", {}, "Did you mean 'induction'"),
        ("parity:relevant=3,partial=1", {}, "partial=1 needs an even number of relevant bits"),
        ("parity:partial=2", {}, "partial is 0 or 1"),
        ("icl:partial=1", {}, "'partial' is no setting"),
        ("parity:bit=3", {}, "'bit' is no setting: write parity:bits=40,relevant=4"),
        ("parity", {"train_size": 100}, "draws new training examples at every step"),
        ("parity", {"validation_size": 100}, "draws new training examples at every step"),
        ("text:length=10", {}, "name the file"),
        ("text:path=/nowhere.txt", {}, "/nowhere.txt cannot be read: No such file"),
    ],
)
def test_impossible_settings_are_said(name, more, said):
    with pytest.raises(DataError, match=said):
        load_arrays(name, **more)


def test_a_short_text_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("abc")
    with pytest.raises(DataError, match="has 3 bytes, and needs 21 or more"):
        load_arrays(f"text:path={tmp_path / 'short.txt'},length=10")


def test_more_test_examples_than_are_drawn_are_remarked():
    assert load_arrays("parity", test_size=100).x_test.shape[0] == 100
    (said,) = load_arrays("parity", test_size=5000).remarks
    assert said == "data.test_size=5000: 2048 examples are drawn"
