import numpy as np
import pytest

from tapjax.data import datasets, synthetic


def test_all_pairs_are_there_once_and_their_sums_are_right():
    x, y, x_test, y_test = synthetic.make_task("modular:p=31,train=40")
    assert len(x) == 31 * 31 * 40 // 100 and len(x) + len(x_test) == 31 * 31
    every = np.concatenate([x, x_test])[..., 0].argmax(-1)
    assert len({tuple(pair) for pair in every}) == 31 * 31
    assert (np.concatenate([y, y_test]) == every.sum(1) % 31).all()
    assert (np.concatenate([x, x_test]).sum((2, 3)) == 1).all()


def test_the_task_is_a_data_set_of_raw_one_hot_operands():
    arrays = datasets.load_arrays("modular:p=31")
    assert arrays.shape == (2, 31, 1) and arrays.classes == 31
    assert arrays.mean == 0 and arrays.std == 1
    again = datasets.load_arrays("modular:p=31,train=50")
    assert datasets.digests(arrays) == datasets.digests(again)


@pytest.mark.parametrize(
    "name,message",
    [
        ("modular:p=33", "prime"),
        ("modular:p=7", "at least 31"),
        ("modular:train=0", "percentage"),
        ("modular:q=3", "write modular:p=59"),
        ("modular:p=x", "write modular:p=59"),
    ],
)
def test_impossible_settings_are_refused(name, message):
    with pytest.raises(datasets.DataError, match=message):
        datasets.load_arrays(name)
