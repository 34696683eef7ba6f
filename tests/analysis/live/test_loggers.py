import importlib
import threading

import numpy as np
import pytest

from analysis import open_run
from analysis.live import loggers
from tapjax.contract.files import RunError
from tapjax.live import Recorder


def loop(path, first=0, last=40, before_probe=lambda step: None):
    with Recorder(path, seeds=2, chunk=10, quiet=True) as record:
        for step in range(first, last):
            before_probe(step)
            if step % 5 == 0:
                record.probe(step, layers={"a": np.full(2, step + 1.0), "head": np.ones(2)})
            record(step, loss=np.array([step, np.nan if step == 3 else 2.0 * step]))


class Spy:
    """A logger that keeps what it is given, and fails from some step on."""

    def __init__(self, fails_at=np.inf):
        self.fails_at, self.rows, self.closed = fails_at, [], False

    def open(self, path, config):
        return loggers.Logger(self.log, self.close)

    def log(self, step, by_seed):
        if step >= self.fails_at:
            raise ConnectionError("no network")
        self.rows.append((step, by_seed))

    def close(self):
        self.closed = True


@pytest.fixture
def spies(monkeypatch):
    spies = {"good": Spy(), "bad": Spy(fails_at=12)}
    monkeypatch.setattr(loggers, "LOGGERS", {name: spy.open for name, spy in spies.items()})
    return spies


def test_every_finite_number_is_sent_once_and_a_failing_logger_stops_nothing(tmp_path, spies):
    said = []
    forwarding = loggers.Forwarding(tmp_path / "run", spies, said.append)
    loop(tmp_path / "run", before_probe=lambda step: forwarding.catch_up())
    forwarding.catch_up()
    forwarding.catch_up()
    forwarding.close()
    rows = dict(spies["good"].rows)
    assert [step for step, _ in spies["good"].rows] == list(range(40))
    assert rows[5] == {
        seed: {
            "scalar/loss": 5.0 * (seed + 1), "probe/participation_ratio/a": 6.0,
            "probe/participation_ratio/head": 1.0,
        }
        for seed in (0, 1)
    }  # fmt: skip
    assert rows[3] == {0: {"scalar/loss": 3.0}}  # the other is not a number
    assert len(said) == 1 and "logger bad failed" in said[0] and "no network" in said[0]
    assert len(spies["bad"].rows) == 12 and spies["good"].closed and not spies["bad"].closed
    assert open_run(tmp_path / "run").complete


def test_records_of_before_are_not_sent_again(tmp_path, spies):
    loop(tmp_path / "run")
    forwarding = loggers.Forwarding(tmp_path / "run", spies, print)
    forwarding.catch_up()
    assert not spies["good"].rows


def test_the_rest_is_sent_when_the_run_has_ended(tmp_path, spies):
    ended = threading.Event()
    args = (ended, tmp_path / "run", ["good"], print)
    thread = threading.Thread(target=loggers.forward_until, args=args)
    thread.start()
    loop(tmp_path / "run")
    ended.set()
    thread.join(timeout=30)
    assert [step for step, _ in spies["good"].rows] == list(range(40)) and spies["good"].closed


def test_a_logger_that_is_missing_is_named(monkeypatch):
    with pytest.raises(RunError, match="'tensorboard'"):
        loggers.check(["tensorbord"])

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(RunError, match=r"needs tensorboardX: pip install 'tapjax\[tensorboard\]'"):
        loggers.check(["tensorboard"])


@pytest.mark.parametrize("name", ["tensorboard", pytest.param("wandb", marks=pytest.mark.slow)])
def test_real_loggers_write_in_the_run(tmp_path, name):
    pytest.importorskip({"tensorboard": "tensorboardX"}.get(name, name))
    said = []
    forwarding = loggers.Forwarding(tmp_path / "run", [name], said.append)
    loop(tmp_path / "run")
    forwarding.catch_up()
    forwarding.close()
    assert not said and any((tmp_path / "run" / name).iterdir())
