import os
import signal

import pytest

from analysis.statistics import parallel
from analysis.statistics.parallel import in_processes
from tapjax.contract.files import RunError


def of(number):
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return number**2, os.getpid(), os.environ.get("OPENBLAS_NUM_THREADS")


def test_results_come_in_order_from_other_processes(monkeypatch):
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    found = in_processes(of, iter(range(20)), "squares")
    assert [value for value, _, _ in found] == [i**2 for i in range(20)]
    assert os.getpid() not in {process for _, process, _ in found}
    assert {threads for _, _, threads in found} == {"1"}
    with pytest.raises(ValueError, match="-1 is below 0"):
        in_processes(of, [1, -1], "squares")


@pytest.mark.parametrize(("cores", "numbers"), [(1, range(3)), (2, [3]), (2, [])])
def test_one_core_or_one_argument_needs_no_process(monkeypatch, cores, numbers):
    monkeypatch.setattr(parallel, "cpu_count", lambda: cores)
    found = in_processes(of, numbers, "squares")
    assert [value for value, _, _ in found] == [i**2 for i in numbers]
    assert {process for _, process, _ in found} <= {os.getpid()}


def killed(number):
    if number:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    with pytest.raises(RunError, match="one of 2 processes was killed"):
        in_processes(killed, [0, 1], "squares")
