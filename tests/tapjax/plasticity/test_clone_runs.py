"""A base and its clones in one run: together until something parts them."""

import numpy as np
import pytest

from analysis import open_run
from configs.plasticity import cloning as cloned
from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.plasticity import clone_runs
from tapjax.run import assembly, loop, replay
from tapjax.store import checkpoint


def small(**args):
    """Steps 0 to 30 as base and clone of its beginning, cloned at 30 (and 60), 60 more."""
    args = {"arch": "mlp:widths=8-6", "dataset": "digits", "seeds": 2, **args}
    cfg = cloned.get_config(",".join(["quick", *(f"{k}={v}" for k, v in args.items())]))
    cfg.probe.every, cfg.clone.step = 10, 30
    cfg.steps = 60 + 30 * cfg.clone.times
    cfg.eval_every = cfg.checkpoint.every = 30
    return cfg


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run directories by arguments, each trained once."""
    folder, made = tmp_path_factory.mktemp("clones"), {}

    def run(**args):
        name = ",".join(f"{k}={v}" for k, v in args.items())
        if name not in made:
            assert loop.run(small(**args), folder / str(len(made))).status == "DONE"
            made[name] = folder / str(len(made))
        return made[name]

    return run


STAYING = [{"optimizer": "adam", "lr": 0.01, "times": 2}, {"track": True, "norm": "batch"}]


@pytest.mark.long_except("args1")
@pytest.mark.slow
@pytest.mark.parametrize("args", STAYING)
def test_what_sees_clones_alike_keeps_them(runs, args):
    found = open_run(runs(**args))
    assert not found.array("probe", "cloning_loss").max() > 1e-9
    assert not found.array("probe", "cloning_loss_backward").max() > 1e-9
    # T7: as many independent units as the base has, though there are more.
    assert (found.array("probe", "hard_rank") <= [8, 6]).all()
    whole = 2 ** args.get("times", 1)
    assert (found.array("probe", "dup_fraction") >= (1 - 1 / whole) * 0.3).all()


@pytest.mark.slow
def test_at_corrected_rates_a_clone_follows_its_base(runs):
    """T6, through batch normalisation and a whole run; at equal rates it does not."""
    found, equal = (open_run(runs(**args)) for args in reversed(STAYING))
    losses = [found.array("scalar", name) for name in ("loss", "x1_loss")]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    for name in ("eff_rank", "dead_fraction", "hard_rank"):
        pair = [found.array("probe", prefix + name) for prefix in ("", "x1_")]
        np.testing.assert_allclose(*pair, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.array("probe", "activation_similarity"), 1, atol=1e-4)
    np.testing.assert_allclose(found.array("probe", "feature_alignment"), 1, atol=1e-4)
    gap = np.abs(equal.array("scalar", "loss") - equal.array("scalar", "x1_loss"))
    assert gap.max() > 0.01


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("mitigation", ["noisy_step", "cbp"])
def test_what_tells_clones_apart_parts_them(mitigation):
    """T8: a single noisy step, a unit renewed without its clones (masks: test_cloning)."""
    cfg = small(mitigation=mitigation)
    cfg.renewal.update(rate=0.02, maturity=5)
    ready = assembly.assemble(cfg)
    _, records = ready.programs.train(ready.programs.init(), ready.data, 3)
    loss = np.asarray(records.probe["cloning_loss"]).max(-1)  # [S, T]
    assert (loss[:, 0] < 1e-9).all() and (loss[:, -1] > 1e-7).all()


@pytest.mark.long
@pytest.mark.slow
def test_any_step_is_had_again_across_a_cloning(runs):
    with replay.open_timeline(runs(**STAYING[0])) as timeline:
        ready = timeline.assembly
        (_, states), (_, later) = replay.states_at(timeline, [30, 45])
    states = replay.enter(ready, states, 30)
    for _ in range(30, 45):
        states, _ = ready.programs.step(states, ready.data)
    assert checkpoint.digests(states) == checkpoint.digests(later)


@pytest.mark.slow
def test_a_clone_that_is_none_stops_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(clone_runs, "SAME", -1.0)
    with pytest.raises(ConfigError, match="cloning changed the function: logits differ by"):
        loop.run(small(**STAYING[1]), tmp_path / "run")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clone.step": 90}, "clone.step times clone.times must be below steps"),
        ({"clone.step": 15}, "clone.step=15 must be a multiple of probe.every=10"),
        (
            {"tasks.reset": True},
            "clone.factor cannot be combined with tasks.head='zero', tasks.reset or "
            "tasks.reset_optimizer",
        ),
        ({"clone.track": True, "optimizer.name": "adam"}, "clone.track needs optimizer.name='sgd'"),
        ({"family": "tap"}, "clone.factor is a field of family='plasticity'"),
    ],
)
def test_what_cannot_be_cloned_is_said(fields, message):
    cfg = small()
    cfg.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=message):
        schema.check(cfg)
