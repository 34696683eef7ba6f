import json

import numpy as np
import pytest

from analysis.commands import predict as command
from analysis.runs.reader import RunError
from analysis.tap import held_out, predict
from tapjax.contract.architectures import parse_architecture, structure

GRID = predict.log_grid(1000)
SHAPE, CLASSES = (28, 28, 1), 10


def planted(seed=0, null=False):
    """MLPs whose collapse deepens with depth and recovers with width; or with neither."""
    rng = np.random.default_rng(seed)
    made = []
    for depth in (1, 2, 4, 8):
        for width in (16, 32, 64, 128):
            name = f"mlp:depth={depth},width={width}"
            a, b = np.log(depth) / 2, np.log(width / 16) / 4
            if null:
                a, b = rng.permutation([0.0, 0.35, 0.7, 1.0])[0], rng.uniform(0, 0.5)
            level = 2.0 + (rng.uniform(-0.5, 0.5) if null else 0.3 * b)
            curve = level - (0.3 + a) * (1 - np.exp(-GRID / 20)) + b * np.log1p(GRID / 100)
            seeds = curve + 0.01 * rng.standard_normal((3, len(GRID)))
            sizes = structure(parse_architecture(name), SHAPE, CLASSES)
            tap = np.array([level, -4.0, level + b, np.log(0.05), np.log(20.0)])
            made.append(predict.Example(name, "toy", sizes, GRID, seeds, GRID.astype(float), tap))
    return made


def of_those_left_out(examples, predictor, use_init=True):
    rows, forecasts = held_out.leave_one_out(examples, predictor, use_init)
    assert len(forecasts) == len(rows)
    return [row for row in rows if row["bracketed"]]


@pytest.mark.long_except("ridge", "gp")
@pytest.mark.slow_except("ridge", "gp-0.95-False")
@pytest.mark.parametrize("use_init", [True, False])
@pytest.mark.parametrize("predictor,least", [("gp", 0.95), ("ridge", 0.8), ("ensemble", 0.8)])
def test_what_depends_on_the_architecture_is_predicted(predictor, least, use_init):
    rows = of_those_left_out(planted(), predictor, use_init)
    assert len(rows) == 4
    assert np.median([row["r2_log"] for row in rows]) > least
    assert np.median([row["skill"] for row in rows]) > 0.5
    assert all(row["seed_r2"] > 0.95 for row in rows)


@pytest.mark.parametrize("use_init", [True, False])
def test_the_tap_route_predicts_tap_curves(use_init):
    """Curves that are exactly TAP's, with parameters that are smooth in the architecture."""
    axis = predict._axis(GRID, 0.5 * GRID)
    examples = []
    for e in planted():
        depth, width = np.log(e.structure["depth"]), np.log(e.structure["width"])
        tap = np.array([2 + 0.2 * width, -5 + 0.3 * depth, 1 + 0.3 * width, -3 + 0.2 * depth, 3.0])
        curve = predict.TAP.log_curve(tap, axis)
        seeds = curve + 0.005 * np.random.default_rng(0).standard_normal((3, len(GRID)))
        examples.append(e._replace(log_d_SxG=seeds, gradient_G=0.5 * GRID, tap_P=tap))
    rows = of_those_left_out(examples, "tap", use_init)
    assert min(row["r2_log"] for row in rows) > 0.9
    assert all(row["coverage"] is None for row in rows)


@pytest.mark.long
@pytest.mark.slow
def test_what_does_not_depend_on_it_is_not():
    rows = [row for seed in range(3) for row in of_those_left_out(planted(seed, null=True), "gp")]
    assert np.median([row["skill"] for row in rows]) < 0.25


@pytest.mark.slow
def test_skill_is_held_against_shuffled_architectures():
    found = held_out.skill_of_shuffled(planted(), "ridge", False, 19)
    assert found["skill_folds"] > found["skill_shuffled_95"] and found["skill_p"] == 0.05
    nothing = [
        held_out.skill_of_shuffled(planted(seed, null=True), "ridge", False, 19)["skill_p"]
        for seed in range(5)
    ]
    assert np.median(nothing) > 0.05


def test_shuffling_keeps_curves_and_families():
    examples = planted()
    examples[0] = examples[0]._replace(structure=examples[0].structure | {"family": "cnn"})
    made = held_out.shuffled(examples, np.random.default_rng(0))
    assert made[0].structure == examples[0].structure  # the only one of its family
    assert [e.structure["width"] for e in made] != [e.structure["width"] for e in examples]
    sizes = sorted(e.structure["num_params"] for e in made)
    assert sizes == sorted(e.structure["num_params"] for e in examples)
    assert all(a.log_d_SxG is b.log_d_SxG for a, b in zip(made, examples, strict=True))


@pytest.mark.slow
def test_bands_hold_what_they_promise():
    rows = [row for seed in range(3) for row in of_those_left_out(planted(seed), "gp")]
    assert np.mean([row["coverage"] for row in rows]) > 0.8
    assert of_those_left_out(planted(), "knn")[0]["coverage"] is None


def test_a_calibration_survives_json():
    examples = planted()
    again = predict.from_table(json.loads(json.dumps(predict.to_table(examples))))
    sizes = structure(parse_architecture("mlp:depth=3,width=48"), SHAPE, CLASSES)
    one, two = (predict.fit(e, "ensemble", False)(sizes, "toy").log_d_G for e in (examples, again))
    np.testing.assert_array_equal(one, two)


def test_only_surrounded_architectures_are_bracketed():
    others = [e.structure for e in planted()]

    def inside(name):
        return held_out.bracketed(structure(parse_architecture(name), SHAPE, CLASSES), others)

    assert inside("mlp:depth=3,width=48")
    assert not inside("mlp:depth=8,width=48") and not inside("mlp:depth=3,width=16")
    assert not inside("cnn:channels=8-16")


def test_calibrations_that_do_not_belong_together_are_refused():
    examples = planted()
    with pytest.raises(RunError, match="n = 4 architectures, needs >= 5 for a"):
        predict.check_examples(examples[:4])
    with pytest.raises(RunError, match="twice"):
        predict.check_examples([*examples, examples[0]])
    longer = examples[0]._replace(step_G=predict.log_grid(2000))
    with pytest.raises(RunError, match="1000 and 2000"):
        predict.check_examples([longer, *examples[1:]])


def test_a_forecast_of_an_untrained_network(tmp_path):
    calibration = tmp_path / "predictor.json"
    table = {"metric": "participation_ratio", "shapes": {"toy": [SHAPE, CLASSES]}}
    calibration.write_text(json.dumps(table | {"examples": predict.to_table(planted())}))

    def make(arch="mlp:depth=3,width=48", dataset="toy", d0=None):
        return command.forecast(calibration, arch, dataset, "gp", d0, tmp_path / "out")

    result, _ = make(d0=8.0)
    curve = result["forecast"]
    assert not result["extrapolating"] and curve["D"][0] == pytest.approx(8, rel=0.02)
    assert all(
        low < d < high
        for low, d, high in zip(*(curve[k] for k in ("low", "D", "high")), strict=True)
    )
    assert (tmp_path / "out" / "forecast.png").stat().st_size > 10_000
    assert make("mlp:depth=20,width=48")[0]["extrapolating"]
    for bad in ({"arch": "mpl:depth=1"}, {"dataset": "mnist"}, {"d0": -1.0}):
        with pytest.raises(RunError):
            make(**bad)
    with pytest.raises(RunError, match="make one with"):
        command.forecast(tmp_path / "no.json", "mlp_wide", "toy", "gp", None, tmp_path)
