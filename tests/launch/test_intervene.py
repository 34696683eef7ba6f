"""Interventions: a planted change mattered, and ordinary training did not."""

import json
import subprocess
import sys

import numpy as np
import pytest

from analysis.mechanistic import interventions
from tests.conftest import RESET

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("full_compile")]


def python(module, *args):
    command = [sys.executable, "-m", module, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def made(planted_run, full_compile):
    """A run in which a unit was drawn anew, with interventions around its critical steps."""
    dry = python("launch.intervene", f"--run={planted_run}", "--dry_run")
    assert dry.returncode == 0 and "pairs of steps to intervene in, which takes" in dry.stdout
    assert not (planted_run / "interventions").exists()
    result = python("launch.intervene", f"--run={planted_run}", "--most=1")
    assert result.returncode == 0, result.stderr
    return planted_run, result.stdout


def test_a_planted_reset_comes_first(made, tmp_path):
    run, said = made
    first = said.splitlines()[2].split()
    assert abs(int(first[0]) - RESET) <= 4 and first[2:5] == ["conv_1", "transplant", "2"], said
    assert float(first[-1]) <= 0.05 and "bit for bit" in said
    result = python("analysis", "mechanistic", run, f"--out={tmp_path}", "--json")
    assert result.returncode == 0, result.stderr
    (moment,) = json.loads(result.stdout)["runs"]["run"]["interventions"]
    row = moment["rows"][0]
    assert (row["layer"], row["unit"], row["intervention"]) == ("conv_1", 2, "transplant")
    assert row["effect"] > 20 * row["ordinary"]
    assert (tmp_path / "run" / "interventions_1.png").stat().st_size > 10_000
    report = (tmp_path / "run" / "comparison_report.md").read_text()
    assert "## Did it matter? Step" in report and "| conv_1 | 2 | transplant |" in report


def test_ordinary_steps_do_not_matter_and_nothing_is_measured_twice(made):
    run, _ = made
    result = python("launch.intervene", f"--run={run}", f"--moment={RESET // 2}")
    assert result.returncode == 0, result.stderr
    p = [float(line.split()[-1]) for line in result.stdout.splitlines() if "conv_" in line]
    assert len(p) == 10 and min(p) > 0.05, result.stdout
    again = python("launch.intervene", f"--run={run}", f"--moment={RESET // 2}")
    assert "0 steps to run again, 0 pairs" in again.stdout


def test_a_unit_that_was_chosen_beforehand(made):
    run, _ = made
    of_one = ("--layers=conv_1", f"--moment={RESET}")
    hit = python("launch.intervene", f"--run={run}", *of_one, "--unit=conv_1:2")
    rows = [line.split() for line in hit.stdout.splitlines() if line.strip().startswith(str(RESET))]
    assert rows[0][3:5] == ["transplant", "2"] and float(rows[0][-1]) <= 0.05, hit.stdout
    miss = python("launch.intervene", f"--run={run}", *of_one, "--unit=conv_1:5")
    rows = [
        line.split() for line in miss.stdout.splitlines() if line.strip().startswith(str(RESET))
    ]
    assert len(rows) == 6 and {row[4] for row in rows} == {"5"}
    plan = json.loads((run / "interventions" / "moments.json").read_text())  # that of all units
    assert plan["moments"][0]["triple"][1]["step"] == RESET // 2
    # The loss of a neighbour changes what unit 5 is worth (ablation), but not what it does.
    assert min(float(row[-1]) for row in rows if row[3] != "ablation") > 0.05, miss.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--layers=conv_7"], "layer 'conv_7' is not one of conv_0, conv_1"),
        (["--unit=conv_1"], "must be LAYER:NUMBER"),
        (["--unit=conv_1:99", f"--moment={RESET}"], "is not one of the 8 units of a chosen layer"),
        (["--unit=conv_1:2", "--layers=conv_0"], "is not one of the 8 units of a chosen layer"),
        (["--moment=-5"], "--moment='-5' is neither a step"),
        (["--moment=30"], "the step is too early"),
        (["--moment=799"], "nearer than"),
        (["--moment=5000"], "nearer than"),
    ],
)
def test_errors(made, args, said):
    result = python("launch.intervene", f"--run={made[0]}", *args)
    assert result.returncode == 2 and said in result.stderr, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_effect_that_changes_its_sign_is_an_effect():
    """A unit that cost .5 before and brings .5 after has an effect of 1, not of 0."""
    here = {
        f"ablate_{side}/a/loss": np.array([x]) for side, x in (("before", -0.5), ("after", 0.5))
    }
    assert interventions.signed(here, "ablation", "a") == 1.0


def test_effects_of_a_hand_built_network():
    """Undoing a unit of a linear network changes the outputs by its activations times weights."""
    import jax.numpy as jnp

    from tapjax.measure.interventions import effects
    from tapjax.types import Batch, Model

    def watch(params, stats, x, shifts=None, key=None):
        hidden = x @ params["in"]
        if shifts is not None:
            hidden = hidden + shifts["hidden_units"]
        return hidden @ params["out"], {"hidden_units": hidden}, stats

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)), rng.integers(3, size=50)
    sides = [{"in": rng.standard_normal((4, 5)), "out": rng.standard_normal((5, 3))} for _ in "ab"]
    to_jax = [({k: jnp.asarray(v, jnp.float32) for k, v in side.items()}, {}) for side in sides]

    def loss(outputs, batch):
        return jnp.square(outputs).sum(1)

    batch = Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y))
    model = Model(None, None, ("hidden", "head"), watch=watch)
    found = effects(model, loss, *to_jax, batch, ("hidden",))
    before, after = (x @ side["in"] for side in sides)
    for kind, here, other, own in (
        ("undo", after, before, sides[1]),
        ("transplant", before, after, sides[0]),
        ("ablate_after", after, np.broadcast_to(after.mean(0), after.shape), sides[1]),
        ("ablate_before", before, np.broadcast_to(before.mean(0), before.shape), sides[0]),
    ):
        plain = np.square(here @ own["out"]).sum(1)
        for unit in range(6):
            changed = here.copy()
            columns = slice(None) if unit == 5 else [unit]
            changed[:, columns] = other[:, columns]
            wanted = np.square(changed @ own["out"]).sum(1) - plain
            np.testing.assert_allclose(
                found[f"{kind}/hidden/loss"][unit], wanted.mean(), rtol=1e-4, atol=1e-4
            )
            of_class = [wanted[y == c].mean() for c in range(3)]
            np.testing.assert_allclose(
                found[f"{kind}/hidden/class_loss"][unit], of_class, rtol=1e-4, atol=1e-3
            )
