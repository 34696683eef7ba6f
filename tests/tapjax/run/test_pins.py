"""Jumps found while training, and the checkpoints that stay because of them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from analysis import open_run
from analysis.mechanistic.critical_steps import jumps_of_run
from tapjax.contract.lease import locked
from tapjax.run import live_jumps, loop, pins, replay
from tapjax.store import checkpoint
from tapjax.store.rundir import RunDir
from tests.conftest import RESET, WINDOW

pytestmark = pytest.mark.usefixtures("full_compile")


def checkpoints(path):
    return sorted(int(p.name) for p in path.iterdir() if p.name.isdigit())


@pytest.mark.slow
@pytest.mark.fault
def test_a_planted_change_is_found_while_training_and_pinned(planted_run):
    found = json.loads((planted_run / "jumps.json").read_text())["jumps"]
    assert {"conv_1"} <= {jump["layer"] for jump in found if abs(jump["step"] - RESET) <= 4}
    pinned = json.loads((planted_run / "pinned.json").read_text())
    (during,) = [
        int(step)
        for step, why in pinned.items()
        if why[0]["side"] == "during" and abs(int(step) - RESET) <= 4
    ]
    assert {str(during - WINDOW), str(during), str(during + WINDOW)} <= set(pinned)
    assert all(reason["by"] == "training" for why in pinned.values() for reason in why)
    assert checkpoints(planted_run / "pins") == sorted(map(int, pinned))


@pytest.mark.slow
def test_online_and_offline_find_the_same_jumps(planted_run):
    online = json.loads((planted_run / "jumps.json").read_text())["jumps"]
    offline = jumps_of_run(open_run(planted_run))
    key = ("seed", "layer", "step")
    assert sorted([j[k] for k in key] for j in online) == sorted(
        [j[k] for k in key] for j in offline
    )


@pytest.mark.slow
@pytest.mark.fault
def test_a_pin_holds_the_exact_state(planted_run, tmp_path):
    steps = checkpoints(planted_run / "pins")
    with replay.open_timeline(planted_run) as timeline:
        kept = {
            s: checkpoint.restore(timeline.managers[1], s, timeline.assembly.like) for s in steps
        }
        only = timeline._replace(managers=())  # from the very beginning
        for step, states in replay.states_at(only, steps[:3]):
            assert checkpoint.digests(states) == checkpoint.digests(kept[step])


@pytest.mark.slow
def test_further_steps_are_pinned_by_replay_and_stay(tiny, tmp_path):
    loop.run(tiny, tmp_path / "run")
    assert checkpoints(tmp_path / "run" / "pins") == []
    for _ in range(2):  # asking twice changes nothing
        pins.ask_for(tmp_path / "run", {13: [{"side": "asked for"}]})
    pinned = json.loads((tmp_path / "run" / "pinned.json").read_text())
    assert pinned == {"13": [{"by": "replay", "side": "asked for"}]}
    assert checkpoints(tmp_path / "run" / "pins") == [13]
    with replay.open_timeline(tmp_path / "run") as timeline:
        assert replay.sources(timeline, [15]) == [(13, 15)]


def test_observing_in_chunks_finds_what_was_planted():
    rng = np.random.default_rng(0)
    layers = 5 + 0.05 * rng.standard_normal((2, 900, 3))
    layers[1, 500:, 0] += 1
    layers[0, 300, 2] = np.nan  # this layer leaves the search
    search, at = live_jumps.start((7, 8), ("a", "b", "head")), 5 * np.arange(900)
    for first in range(0, 900, 45):
        part = slice(first, first + 45)
        search = live_jumps.observe(search, at[part], layers[:, part])
    assert {(j["seed"], j["layer"], j["step"]) for j in search.found} == {
        (8, "a", 2500),
        (8, "mean", 2500),
    }
    assert search.series_NxT.shape[1] < 400  # the far past is forgotten
    assert not search.alive_N[search.names.index((7, "head"))]


def test_a_series_that_breaks_off_is_searched_up_to_there():
    rng = np.random.default_rng(0)
    layers = 5 + 0.05 * rng.standard_normal((1, 400, 2))
    layers[0, 200:, 0] += 1
    layers[0, 290, 0] = np.nan
    for length in (10, 300):
        search = live_jumps.start((0,), ("a", "head"))
        for first in range(0, 400, length):
            part = slice(first, first + length)
            search = live_jumps.observe(search, np.arange(400)[part], layers[:, part])
        assert {(j["layer"], j["step"]) for j in search.found} == {("a", 200), ("mean", 200)}


def test_training_does_not_go_far_back_for_a_pin(tiny):
    tiny.steps = 100_000
    latest, pinned = (SimpleNamespace(all_steps=lambda s=steps: s) for steps in ([90_000], [500]))
    assembly = SimpleNamespace(cfg=tiny)
    carried = pins.Pins(None, replay.Timeline(assembly, (latest, pinned)), None)
    near = 500 + pins.search_delay(tiny)
    wanted = {step: [] for step in (500, near, 80_000, 90_005)}
    assert list(pins._within_reach(carried, wanted)) == [500, near, 90_005]


@pytest.mark.slow
def test_pins_beyond_the_point_of_resumption_are_made_anew(tiny, tmp_path):
    loop.run(tiny, tmp_path / "run")
    pins.ask_for(tmp_path / "run", {step: [{"side": "asked for"}] for step in (5, 35)})
    path = (tmp_path / "run").resolve()
    with locked(path) as lease, replay.open_timeline(path, pinning=True) as timeline:
        run_dir = RunDir(path, lease, {})
        pins.resume(run_dir, timeline, 20)
    assert checkpoints(path / "pins") == [5] == list(pins.read(run_dir))
    assert json.loads((path / "jumps.json").read_text()) == {"jumps": []}


def test_which_steps_deserve_it():
    found = [
        {"seed": 0, "layer": "a", "step": 100, "size": 1.0, "score": 2.0},
        {"seed": 1, "layer": "b", "step": 104, "size": 1.0, "score": 1.5},
        {"seed": 1, "layer": "b", "step": 400, "size": 1.0, "score": 3.0},
        {"seed": 1, "layer": "b", "step": 900, "size": 1.0, "score": 1.1},
    ]
    wanted = live_jumps.pins(found, 2, 25, last=410)
    assert list(wanted) == [75, 100, 125, 375, 400]  # 425 lies ahead, 900 is too weak
    assert [(why["seed"], why["side"]) for why in wanted[125]] == [(0, "after"), (1, "after")]


@pytest.mark.slow
@pytest.mark.fault
def test_the_latest_checkpoints_reach_back_far_enough(tiny, tmp_path):
    tiny.steps, tiny.checkpoint.keep, tiny.checkpoint.pin_jumps = 2000, 1, 1
    tiny.probe.every = 1
    tiny.chunk_steps = tiny.checkpoint.every = 10
    delay = pins.search_delay(tiny)
    with checkpoint.open_manager(tmp_path.resolve(), 1, 0, delay) as manager:
        for step in range(10, 800, 10):
            checkpoint.save(manager, step, {"a": np.zeros(1)})
            kept = manager.all_steps()
            assert step in kept and len(kept) <= 4
            assert min(kept) <= max(step - delay, 10)  # before the first there is step 0


def test_a_network_of_one_layer_has_no_mean(recwarn):
    search = live_jumps.observe(
        live_jumps.start((0,), ("head",)), np.arange(200), np.ones((1, 200, 1))
    )
    assert search.alive_N.tolist() == [False, True] and not recwarn.list
