"""Tasks, clones and online regression as a user trains and analyses them."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from configs.plasticity import bits, cloning, continual, mitigations
from tapjax.config.schema import check, flatten

pytestmark = pytest.mark.slow

ARCH = "arch=mlp:widths=12-8"


def python(*args):
    result = subprocess.run(
        [sys.executable, "-m", *map(str, args)], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plasticity")
    grid = "--grid=mitigation=none|cbp"
    config = "--config=configs/plasticity/continual.py"
    python("launch.sweep", config, f"--fixed=quick,{ARCH}", grid, f"--workdir={folder}/tasks")
    python("launch.run", "--config=configs/plasticity/bits.py:quick", f"--workdir={folder}/bits")
    return folder


def test_runs_are_compared(runs, tmp_path):
    folders = (runs / "tasks", runs / "bits")
    said = python("analysis", "plasticity", *folders, f"--out={tmp_path}", "--json")
    rows = pd.DataFrame(json.loads(said)["rows"]).set_index("run")
    assert rows.setting.nunique() == 2 and (rows.n == 2).all()
    assert rows.score["bits"] == "loss" and rows.score["mitigation=cbp"] == "accuracy"
    gain = rows.late["mitigation=cbp"] - rows.late["mitigation=none"]
    assert rows.over_plain["mitigation=cbp"] == pytest.approx(gain)
    assert rows.average_accuracy["mitigation=none"] > 0.1
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert {"setting_1.png", "memory_1_mitigation=cbp.png", "setting_2.png"} <= drawn
    assert len(pd.read_csv(tmp_path / "plasticity.csv")) == 3


@pytest.mark.parametrize("command", ["summary", "monitor"])
def test_other_analyses_read_them_too(runs, command, tmp_path):
    said = json.loads(python("analysis", command, runs / "tasks", f"--out={tmp_path}", "--json"))
    assert said["command"] == command


def test_the_page_has_a_section_of_their_own(runs, tmp_path):
    page = tmp_path / "report.html"
    python("analysis", "report", runs / "tasks", f"--out={page}")
    text = page.read_text()
    assert '<h2 id="plasticity">Do the networks keep learning?</h2>' in text
    assert "over plain" in text and "without backpropagation" not in text


def test_other_runs_are_refused(runs):
    args = [sys.executable, "-m", "analysis", "credit", runs / "bits"]
    result = subprocess.run(args, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and "is not of the credit family" in result.stderr


@pytest.mark.parametrize("name", mitigations.MITIGATIONS)
def test_mitigations_are_valid_and_change_what_they_say(name):
    plain, config = (continual.get_config(f"quick,mitigation={m}") for m in ("none", name))
    check(config)
    plain, config = flatten(plain), flatten(config)
    changed = {field: value for field, value in config.items() if value != plain[field]}
    assert changed == {k: v for k, v in mitigations.MITIGATIONS[name].items() if v != plain[k]}


def test_mitigations_are_joined_and_misspelt_ones_named():
    config = cloning.get_config("quick,mitigation=l2+layer_norm")
    assert config.optimizer.weight_decay == 1e-4 and config.model.norm == "layer"
    with pytest.raises(ValueError, match="'cpb' is not one of .*did you mean 'cbp'"):
        bits.get_config("mitigation=cpb")


def test_online_learning_has_its_own_defaults_and_they_can_be_changed():
    config = continual.get_config("online")
    check(config)
    assert (config.data.batch_size, config.tasks.steps, config.steps) == (1, 10_000, 1_000_000)
    assert not config.data.normalise and not config.tasks.matrix
    assert continual.get_config("online,lr=0.01,tasks=30").optimizer.lr == 0.01
