"""Alarms go off where the analysis says, in any loop, and are silent without skill."""

import json

import numpy as np
import pytest

from analysis.tap.early_warning import alarm_rule
from analysis.tap.precursors import emergence
from tapjax.contract.files import RunError
from tapjax.live import Alarms
from tapjax.live.alarms import limit_of_controls, moves, read_rules
from tests.analysis.tap.test_precursors import STEPS, made


@pytest.fixture
def planted():
    """A rule, and the signal and onsets that it was made from."""
    _, ability, signal = made(np.random.default_rng(0), lead=150)
    onset = emergence(STEPS, ability).onset
    return alarm_rule(signal, onset, 50, "parity"), signal, onset


def first_alarms(rule, rows):
    found = []
    for row in rows:
        alarms = Alarms([rule])
        said = [
            a for step, v in zip(STEPS, row, strict=True) for a in alarms.update(step, {"x": v})
        ]
        assert said == alarms.found and len(said) <= 1
        found.append(said[0].step if said else np.inf)
    return np.array(found)


def test_alarms_in_a_loop_are_those_of_the_analysis(planted):
    rule, signal, onset = planted
    assert np.mean(onset - first_alarms(rule, signal.values) >= 50) == rule.hits > 0.8
    assert not np.isfinite(first_alarms(rule, signal.control)).any()


def test_the_largest_of_several_values_counts_and_other_signals_do_not(planted):
    rule, signal, _ = planted
    plain, layers = Alarms([rule]), Alarms([rule])
    for step, value in zip(STEPS, signal.values[0], strict=True):
        alone = plain.update(step, {"x": value, "y": 9.0})
        assert layers.update(step, {"x": np.float32([value - 1, value])}) or not alone
        assert plain.update(step, {"y": value}) == []
    (alarm,) = plain.found
    assert "past seeds did so at least 50 steps before parity" in alarm.message
    assert "a run without it does so with a probability of 5%" in alarm.message


def test_a_run_like_the_controls_passes_the_limit_as_often_as_said():
    draw = np.random.default_rng(0)
    passed = []
    for _ in range(300):
        walks = draw.standard_normal((10, 60)).cumsum(1) + 3 * draw.standard_normal((10, 1))
        limit = limit_of_controls(walks[1:])
        assert (np.diff(limit) >= 0).all() and not (moves(walks[1:]) > limit + 1e-9).any()
        passed.append((moves(walks[:1]) > limit).any())
    assert 0.05 < np.mean(passed) < 0.16  # 1 / 10


def test_no_rules_are_silent_and_damaged_files_are_named(tmp_path, planted):
    rule, signal, _ = planted
    path = tmp_path / "precursors.json"
    path.write_text(json.dumps({"alarms": []}))
    silent = Alarms.read(path)
    assert not any(silent.update(step, {"x": 1e9 * step}) for step in range(5))
    path.write_text(json.dumps({"alarms": [rule._asdict()]}))
    assert read_rules(path)[0]._asdict() == json.loads(json.dumps(rule._asdict()))
    for broken in (
        {},
        {"alarms": [{"signal": "x"}]},
        {"alarms": [3]},
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(RunError, match="precursors"):
            read_rules(path)


@pytest.mark.parametrize(
    "name,value",
    [
        ("limit", [None]),
        ("limit", None),
        ("limit", [1.0]),
        ("limit", [-1.0] * len(STEPS)),
        ("steps", []),
        ("steps", 5),
        ("steps", STEPS[::-1].tolist()),
        ("signal", ["D"]),
        ("ability", None),
        ("hits", 7),
        ("seeds", True),
    ],
)
def test_damaged_fields_of_a_rule_are_named(tmp_path, planted, name, value):
    path = tmp_path / "precursors.json"
    path.write_text(json.dumps({"alarms": [planted[0]._asdict() | {name: value}]}))
    with pytest.raises(RunError, match=f"precursors.json: .*{name}"):
        read_rules(path)


def test_rules_of_one_signal_and_values_that_are_not_finite_do_not_disturb_each_other(planted):
    rule, signal, _ = planted
    plain = Alarms([rule])
    both = Alarms([rule, rule._replace(limit=tuple(9e9 for _ in rule.limit))])
    gaps = Alarms([rule])
    for step, value in zip(STEPS, signal.values[0], strict=True):
        alone = plain.update(step, {"x": value})
        assert both.update(step, {"x": value}) == alone
        gaps.update(step - 1, {"x": np.nan if step < 300 else np.inf})
        assert gaps.update(step, {"x": value}) == alone
    assert plain.found


def test_after_the_last_step_of_a_rule_there_is_no_alarm(planted):
    rule, _, _ = planted
    alarms = Alarms([rule])
    alarms.update(0, {"x": 0.0})
    assert alarms.update(STEPS[-1] + 1, {"x": 1e9}) == []
