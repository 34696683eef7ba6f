"""Any step's exact state: what a replay gives is what training had."""

import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tapjax.run import loop, replay
from tapjax.step.blocks import OVER_SEEDS
from tapjax.store import checkpoint
from tapjax.store.rundir import RunDirError
from tests.tapjax.store.test_damage import flip_a_value, ignore_orphaned_reads

pytestmark = pytest.mark.usefixtures("full_compile")

STEPS = 60
FAMILIES = {
    "mlp": ("mlp:depth=2,width=8", "vmap"),
    "cnn": ("cnn:channels=4-8", "loop"),
    "transformer": ("transformer:depth=1,width=8,heads=2", "loop"),
    "cnn, vmap": ("cnn:channels=4-8", "vmap"),
    "cnn, map": ("cnn:channels=4-8", "map"),
}
# The longest to compile are left to `-m long`.
EVERY = [
    pytest.param(name, marks=pytest.mark.long) if name in ("transformer", "cnn, vmap") else name
    for name in FAMILIES
]
RESETS = {"mlp": "hidden_1", "transformer": "block_0_attention"}


def of_family(cfg, family):
    cfg.model.name, cfg.over_seeds = FAMILIES[family]
    cfg.steps, cfg.chunk_steps, cfg.checkpoint.every = STEPS, 20, 20
    cfg.reset.step, cfg.reset.unit = 40, 1  # something happens on the way
    cfg.reset.layer = RESETS.get(family, "conv_1")
    return cfg


def live_digests(cfg, path):
    """Digests of the states that training itself had after every step."""
    cfg = cfg.copy_and_resolve_references()
    # Under map a loop of one step is compiled in another way: of it there are whole blocks only.
    every = cfg.probe.every if cfg.over_seeds == "map" else 1
    cfg.probe.every = cfg.chunk_steps = cfg.checkpoint.every = every
    cfg.eval_every, cfg.checkpoint.pin_jumps = 0, 0
    found = {}

    def note(manager, step, states, force=False):
        found[step] = checkpoint.digests(states)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", note)
        loop.run(cfg, path)
    return found


@pytest.mark.long_except("[mlp]")
@pytest.mark.slow
@pytest.mark.parametrize("family", EVERY)
def test_a_replayed_state_is_the_live_one_bit_for_bit(family, tiny, tmp_path):
    cfg = of_family(tiny, family)
    live = live_digests(cfg, tmp_path / "live")
    loop.run(cfg, tmp_path / "run")
    steps = np.random.default_rng(0).choice(np.arange(1, STEPS + 1), 20, replace=False).tolist()
    steps += [step for step in (5, 25, 35, 55) if step not in steps]
    with replay.open_timeline(tmp_path / "run") as timeline:
        drift = replay.Drift(tmp_path / "run" / "records", 1)
        found = {
            step: checkpoint.digests(states)
            for step, states in replay.states_at(timeline, steps, drift)
        }
    assert sorted(found) == sorted(steps)
    assert len(set(found) & set(live)) >= (4 if cfg.over_seeds == "map" else 20)
    for step in set(found) & set(live):
        assert found[step] == live[step], step
    assert drift.compared and set(drift.worst.values()) == {0.0}


@pytest.mark.slow
def test_single_steps_that_stray_from_their_block_are_refused(tiny, tmp_path):
    tiny.model.name, tiny.over_seeds, tiny.checkpoint.pin_jumps = *FAMILIES["cnn, map"], 0
    loop.run(tiny, tmp_path / "run")
    with replay.open_timeline(tmp_path / "run") as timeline:
        straying = timeline.assembly.programs._replace(
            step=OVER_SEEDS["map"](timeline.assembly.recipe.step)
        )
        timeline = timeline._replace(assembly=timeline.assembly._replace(programs=straying))
        drift = replay.Drift(tmp_path / "run" / "records", 1, allowed=True)
        assert [step for step, _ in replay.states_at(timeline, [5, 15])] == [5, 15]
        with pytest.raises(RunDirError, match="multiples of probe.every=5"):
            list(replay.states_at(timeline, [3]))
        assert [step for step, _ in replay.states_at(timeline, [3], drift)] == [3]


@pytest.mark.slow
def test_replay_after_a_kill_and_a_resume(tiny, tmp_path):
    path, live = tmp_path / "run", live_digests(tiny, tmp_path / "live")
    command = [sys.executable, "-m", "tests.tapjax.run.crash_driver", str(path)]
    assert subprocess.run([*command, "record:3"], capture_output=True).returncode == -9
    assert subprocess.run([*command, "none"], capture_output=True).returncode == 0
    with replay.open_timeline(path) as timeline:
        for step, states in replay.states_at(timeline, [3, 19, 25, 38]):
            assert checkpoint.digests(states) == live[step]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from tests.conftest import tiny

    cfg, path = tiny.__wrapped__(), tmp_path_factory.mktemp("replay") / "run"
    cfg.checkpoint.pin_jumps = 0
    loop.run(cfg, path)
    return path


def test_it_starts_from_the_nearest_checkpoint(finished):
    with replay.open_timeline(finished) as timeline:
        assert replay.sources(timeline, [40, 12, 33, 35]) == [(0, 12), (30, 33), (33, 35), (40, 40)]


@pytest.mark.slow
def test_a_period_bounds_the_cost(tiny, tmp_path):
    tiny.checkpoint.pin_jumps, tiny.checkpoint.keep_period, tiny.checkpoint.keep = 0, 10, 1
    loop.run(tiny, tmp_path / "run")
    with replay.open_timeline(tmp_path / "run") as timeline:
        plan = replay.sources(timeline, [39])
        assert plan == [(30, 39)] and set(timeline.managers[0].all_steps()) == {10, 20, 30, 40}


@pytest.mark.slow
@ignore_orphaned_reads
def test_a_damaged_checkpoint_only_costs_time(tiny, tmp_path, caplog):
    loop.run(tiny, tmp_path / "run")
    with replay.open_timeline(tmp_path / "run") as timeline:
        expected = [checkpoint.digests(states) for _, states in replay.states_at(timeline, [33])]
    flip_a_value(tmp_path / "run" / "ckpt" / "30")
    with replay.open_timeline(tmp_path / "run") as timeline:
        actual = [checkpoint.digests(states) for _, states in replay.states_at(timeline, [33])]
    # A flipped bit may also make the file unreadable: how it is compressed is Orbax's business.
    assert actual == expected and re.search("30 is (damaged|unreadable)", caplog.text)


def changed_env(path, **fields):
    env = json.loads((path / "env.json").read_text())
    (path / "env.json").write_text(json.dumps(env | fields))
    return env


def test_another_machine_is_refused_unless_drift_is_allowed(finished):
    env = changed_env(finished, jaxlib="0.0.1")
    try:
        with pytest.raises(RunDirError, match="jaxlib: '0.0.1' -> "):
            with replay.open_timeline(finished):
                pass
        with replay.open_timeline(finished, allow_numeric_drift=True) as timeline:
            assert timeline.assembly.cfg.steps == 40
    finally:
        changed_env(finished, **env)


def test_drift_from_the_record_is_measured(finished, tmp_path):
    with replay.open_timeline(finished) as timeline:
        params_off = jax.tree.map(lambda x: x, timeline.assembly.programs.init())
        params_off = params_off._replace(params=jax.tree.map(lambda w: w * 1.01, params_off.params))
        strict = replay.Drift(finished / "records", 1)
        with pytest.raises(RunDirError, match="differ from the record by .* of"):
            replay.advance(timeline.assembly, jax.tree.map(jnp.copy, params_off), 0, 7, strict)
        drift = replay.Drift(finished / "records", 1, allowed=True)
        replay.advance(timeline.assembly, params_off, 0, 7, drift)
    assert drift.compared == 7 and 1e-4 < drift.worst["loss"] < 1


def test_an_imported_run_is_refused(finished, tmp_path):
    for path in finished.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    changed = json.loads((finished / "config.json").read_text()) | {"imported": "a.npz"}
    (tmp_path / "config.json").write_text(json.dumps(changed))
    with pytest.raises(RunDirError, match="trained by another loop"):
        with replay.open_timeline(tmp_path):
            pass


def test_changed_data_is_refused(finished):
    old = (finished / "data.json").read_text()
    changed = json.loads(old)
    changed["sha256"] = {name: "0" * 64 for name in changed["sha256"]}
    (finished / "data.json").write_text(json.dumps(changed))
    try:
        with pytest.raises(RunDirError, match="the data changed"):
            with replay.open_timeline(finished):
                pass
    finally:
        (finished / "data.json").write_text(old)
