"""All combinations of arguments, and the analysis of what they trained, as a user runs them."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from analysis.credit import quality
from configs.credit import comparison, frozen, ladder, lq, methods, online, push, tuning
from launch.sweep import combinations
from tapjax.config.schema import ConfigError, check, flatten

ONLINE = "--config=configs/credit/online.py"


def python(*args):
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "runs"
    grid = "--grid=method=dfa|dir|vector_response"
    fixed = "--fixed=dataset=digits,depth=1,width=16,seeds=2,quick"
    result = python("launch.sweep", ONLINE, fixed, grid, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("DONE at step 200") == 3
    return folder


@pytest.mark.slow
def test_a_sweep_is_compared(runs, tmp_path):
    result = python("analysis", "credit", runs, f"--out={tmp_path}", "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    rows = pd.DataFrame(said["rows"]).set_index("method")
    assert list(rows.index) == ["dfa", "dir", "vector chain response"]
    assert rows.gamma["dir"] == pytest.approx(rows.dir_gamma["dir"])
    assert rows.n.tolist() == [2, 2, 2] and rows.setting.nunique() == 1
    gain = rows.over_dir["vector chain response"]
    assert gain == pytest.approx(rows.accuracy["vector chain response"] - rows.accuracy["dir"])
    assert rows.S1["dir"] == pytest.approx(rows.gamma["dir"] - rows.gamma["dfa"])
    assert (tmp_path / "setting_1.png").stat().st_size > 10_000
    assert len(pd.read_csv(tmp_path / "credit.csv")) == 3


@pytest.mark.slow
def test_what_is_done_is_not_trained_again(runs):
    before = {p: p.stat().st_mtime_ns for p in runs.glob("*/records/*.npz")}
    args = ("--fixed=dataset=digits,depth=1,width=16,seeds=2,quick", "--grid=method=dfa")
    assert python("launch.sweep", ONLINE, *args, f"--workdir={runs}").returncode == 0
    assert before == {p: p.stat().st_mtime_ns for p in runs.glob("*/records/*.npz")}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--config=nothing.py",), "no such file"),
        ((ONLINE, "--grid=method"), "not of the form NAME=VALUE,VALUE"),
        ((ONLINE, "--grid=method=dfa,dfa"), "holds a run twice"),
        ((ONLINE, "--grid=method=dfa;method=dir"), "names an argument twice"),
        ((ONLINE, "--grid=config.optimizer.lrr=1"), "did you mean 'optimizer.lr'"),
        ((ONLINE, "--grid=config.learning_rate=1"), "did you mean 'optimizer.lr'"),
        ((ONLINE, "--grid=config.seeds=5"), "set by --fixed=seeds=N, and seed_block"),
        ((f"{ONLINE}:method=dfa",), "pass 'method=dfa' by --fixed or --grid"),
        ((ONLINE, "--grid=config.steps=many"), "must be an integer"),
        ((ONLINE, "--grid=seed_block=a"), "seed_block='a' must be an integer"),
        ((ONLINE, "--engine=dask"), "--scheduler=tcp://HOST:PORT go together"),
        ((ONLINE, "--grid=methd=dfa"), "did you mean 'method'"),
        ((ONLINE, "--grid=method=dfaa"), "did you mean 'dfa'"),
    ],
)
def test_mistakes_are_explained_before_anything_trains(args, message, tmp_path):
    result = python("launch.sweep", *args, f"--workdir={tmp_path / 'runs'}")
    assert result.returncode == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "runs").exists()


def test_a_name_too_long_for_a_folder_is_refused_before_anything_is_written(tmp_path):
    grid = f"--grid=arch={'mlp:widths=' + '-'.join(['100'] * 80)}"
    config = "--config=configs/tap/calibration.py"
    result = python("launch.sweep", config, grid, f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 2 and "bytes are more than 240" in result.stderr
    assert not (tmp_path / "a").exists()


def test_what_a_run_says_cannot_move_the_cursor(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"steps": 10}')
    said = {"status": "FAILED", "step": 1, "reason": "\x1b[2J\x1b]0;title\x07 done"}
    (tmp_path / "run" / "STATUS.json").write_text(json.dumps(said))
    shown = python("launch.status", tmp_path).stdout
    assert "\x1b" not in shown and "\x07" not in shown and "\\x1b[2J" in shown


def test_combinations():
    assert combinations("b=x:2|y;c=3,4") == {
        "b=x-2,c=3": {"b": "x:2", "c": "3"},
        "b=x-2,c=4": {"b": "x:2", "c": "4"},
        "b=y,c=3": {"b": "y", "c": "3"},
        "b=y,c=4": {"b": "y", "c": "4"},
    }
    assert combinations("") == {"run": {}}
    assert list(combinations("seed_block=0:3")) == [f"seed_block={i}" for i in range(3)]
    architectures = ["mlp:depth=2,width=64", "cnn_shallow", "mlp:widths=8-8"]
    runs = combinations(f"arch={','.join(architectures)}")
    assert [run["arch"] for run in runs.values()] == architectures


@pytest.mark.slow
def test_fields_and_blocks_of_seeds(tmp_path):
    grid = "--grid=config.optimizer.lr=3e-4;seed_block=2;config.steps=10"
    fixed = "--fixed=quick,arch=mlp:depth=1,width=8,seeds=3"
    config = "--config=configs/tap/calibration.py"
    result = python("launch.sweep", config, fixed, grid, f"--workdir={tmp_path}")
    assert result.returncode == 0, result.stderr
    name = "config.optimizer.lr=3e-4,seed_block=2,config.steps=10"
    made = json.loads((tmp_path / name / "config.json").read_text())
    assert (made["optimizer"]["lr"], made["seeds"], made["steps"]) == (3e-4, [6, 7, 8], 10)
    table = python("launch.status", tmp_path)
    assert table.returncode == 0 and table.stdout.endswith("1 run: 1 DONE\n")
    assert table.stdout.startswith(f"{name}  DONE        100%")
    (tmp_path / name / "STATUS.json").unlink()
    (row,) = json.loads(python("launch.status", tmp_path, "--json").stdout)["runs"]
    assert (row["run"], row["status"], row["steps"], row["age"]) == (name, "WAITING", 10, None)
    assert "SWEEP is missing" in python("launch.status").stderr


@pytest.mark.parametrize("method", methods.METHODS)
@pytest.mark.parametrize("module", [online, ladder, frozen])
def test_every_method_has_a_valid_config(module, method):
    for text in ("", ",quick"):
        if (module, method) == (frozen, "kolen_pollack"):  # it learns from updates of the weights
            with pytest.raises(ConfigError, match="needs rule.freeze_step=0"):
                check(module.get_config(f"method={method}{text}"))
        else:
            check(module.get_config(f"method={method}{text}"))


@pytest.mark.parametrize("change", methods.RECIPES["notes"])
def test_a_recipe_changes_in_one_thing(change):
    name = change.rpartition(".")[2]
    flat = [
        flatten(online.get_config(f"method=vector,recipe=notes{text}").to_dict())
        for text in ("", f",change={name}")
    ]
    changed = {field.rpartition(".")[2] for field in flat[0] if flat[0][field] != flat[1][field]}
    assert changed == {"warmup_steps" if name == "warmup" else name}


@pytest.mark.parametrize("method", ["dfa", "state_bridge", "scalar_bridge", "vector_response"])
def test_the_control_problem_has_a_valid_config(method):
    check(lq.get_config(f"method={method},quick"))


@pytest.mark.parametrize(
    ("net", "method"), [(net, method) for net in comparison.BEST for method in comparison.BEST[net]]
)
def test_methods_are_compared_at_the_rates_of_their_best_trial(net, method):
    config = comparison.get_config(f"method={method},net={net}")
    check(config)
    trial = tuning.get_config(f"method={method},net={net},trial={comparison.BEST[net][method]}")
    for name in ("optimizer", "rule", "credit", "blocks", "model"):
        assert config[name] == trial[name]
    assert not set(config.seeds) & set(trial.seeds) and config.data.validation_size == 0


@pytest.mark.parametrize("method", push.RATES)
def test_the_named_outcome_is_judged_at_tuned_rates(method):
    config = push.get_config(f"method={method}")
    check(config)
    assert config.blocks.skip == 0 and config.seeds == (10, 11, 12)
    assert (config.rule.block_lr, config.credit.lr) == push.RATES[method]


@pytest.mark.parametrize(
    ("arg", "gamma"),
    [
        ("recipe=notes,method=state_bridge,depth=4", 0.34),
        ("recipe=notes,method=scalar_bridge,depth=12", 0.24),
        ("recipe=notes,method=scalar_bridge,terminal=0", 0.12),
        ("recipe=notes,method=scalar_bridge,code=delta", 0.562),
        ("recipe=notes,method=vector", 0.91),
        ("recipe=notes,method=vector_shuffled", 0.051),
        ("recipe=notes,method=scalar_bridge,alpha=0.5", None),
        ("recipe=notes,method=scalar_bridge,terminal=0.25", None),
        ("recipe=notes,method=scalar_bridge,warmup=0.5", 0.23),
        ("recipe=notes,method=scalar_bridge", 0.45),
    ],
)
def test_the_notes_number_of_an_experiment(arg, gamma):
    config = ladder.get_config(arg).to_dict()
    assert quality.notes_of(config, quality.method(config)).get("gamma") == gamma


@pytest.mark.parametrize(
    ("arg", "gamma"),
    [
        ("recipe=notes,method=dfa", 0.101),
        ("recipe=notes,method=scalar_bridge", 0.179),
        ("recipe=notes,method=scalar_bridge,terminal=4", 0.187),
        ("recipe=notes,method=scalar_bridge,code=delta,warmup=0.05", 0.0),
        ("recipe=notes,method=scalar_bridge,warmup=0", None),
        ("recipe=notes,method=scalar_bridge,depth=4,width=512", 0.123),
        ("recipe=notes,method=dfa,depth=2,width=512", 0.196),
        ("method=dfa,recipe=repaired", None),
    ],
)
def test_the_notes_number_of_an_online_experiment(arg, gamma):
    config = online.get_config(arg).to_dict()
    assert quality.notes_of(config, quality.method(config)).get("gamma") == gamma
