"""A finished run of which more steps are asked goes on, and is the longer run bit for bit."""

import shutil

import jax
import pytest

from analysis.runs.reader import open_run
from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.config.validate import schedules_of_steps
from tapjax.contract.files import read_npz
from tapjax.contract.layout import MANIFEST, write_json, write_npz
from tapjax.run import assembly, disk, loop, replay, snapshots
from tapjax.step.optimizers import make_schedule
from tapjax.store import rundir
from tapjax.store.rundir import RunDirError
from tapjax.sweep.jobs import Policy, finished, make_job, train
from tests.conftest import tiny as tiny_fixture
from tests.tapjax.run.test_resume_matrix import CASES, small, stop_after
from tests.tapjax.same import assert_same_run

pytestmark = pytest.mark.usefixtures("full_compile")


def longer(cfg, steps=60, **fields):
    cfg = schema.from_json(schema.to_json(cfg))
    cfg.update_from_flattened_dict({"steps": steps} | fields)
    return cfg


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run of 40 steps and one of 60."""
    folder = tmp_path_factory.mktemp("extension")
    loop.run(tiny_fixture.__wrapped__(), folder / "run")
    loop.run(longer(tiny_fixture.__wrapped__()), folder / "whole")
    return folder


@pytest.mark.slow
def test_a_finished_run_goes_on(tiny, tmp_path):
    tiny.eval_every = 25  # not where it ends
    loop.run(longer(tiny), tmp_path / "whole")
    loop.run(tiny, tmp_path / "run")
    assert loop.run(longer(tiny), tmp_path / "run") == loop.Outcome("DONE", 60, "")
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    ours, theirs = (open_run(tmp_path / name) for name in ("run", "whole"))
    assert (ours.dimension() == theirs.dimension()).all()
    said = (tmp_path / "run" / "log.txt").read_text()
    assert "continues from its end to step 60" in said and "bit for bit" in said
    for name in ("config.json", "model.json"):
        assert (tmp_path / "run" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.long
def test_with_chunks_of_another_length_it_is_the_same(tmp_path):
    cfg = small(chunk_steps=0, checkpoint__every=30)  # chunks as the number of steps suggests
    loop.run(longer(cfg, 700), tmp_path / "whole")
    loop.run(cfg, tmp_path / "run")
    loop.run(longer(cfg, 700), tmp_path / "run")
    ours, theirs = (open_run(tmp_path / name) for name in ("run", "whole"))
    assert (ours.array("scalar", "loss") == theirs.array("scalar", "loss")).all()
    assert (ours.dimension() == theirs.dimension()).all()


@pytest.mark.long
@pytest.mark.parametrize("case", ["recording", "clone", "credit vector"])
def test_runs_of_other_families_go_on(case, tmp_path):
    cfg = CASES[case]()
    loop.run(longer(cfg), tmp_path / "whole")
    loop.run(cfg, tmp_path / "run")
    loop.run(longer(cfg), tmp_path / "run")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_was_stopped_may_get_more_steps(tiny, runs, tmp_path):
    stop_after(tiny, tmp_path / "run", 20)
    loop.run(longer(tiny), tmp_path / "run")
    assert_same_run(runs / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    "case,said",
    [
        ("schedule cosine", "steps: 20 -> 60, optimizer.schedule='cosine'.*pass --extend"),
        ("permuted tasks", "2 tasks, which are drawn and recorded together .steps: 20 -> 60"),
    ],
)
def test_what_the_number_of_steps_decides_is_named(case, said, tmp_path):
    cfg = longer(CASES[case](), 20)
    with open_as(cfg, tmp_path):
        pass
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(RunDirError, match=said), open_as(longer(cfg), tmp_path):
        pass
    assert (tmp_path / "config.json").read_text() == before


def open_as(cfg, path):
    manifest = {name: {} for name in MANIFEST} | {"config.json": schema.to_json(cfg)}
    return rundir.open_run_dir(path, manifest)


def test_the_schedules_that_end_with_a_run_are_known():
    flat = schema.flatten(CASES["credit vector"]())
    assert schedules_of_steps(flat) == []
    decaying = flat | {"credit.schedule": "cosine", "optimizer.schedule": "linear"}
    assert schedules_of_steps(decaying) == [
        "credit.schedule='cosine'", "optimizer.schedule='linear'"
    ]  # fmt: skip
    assert schedules_of_steps(decaying | {"family": "tap"}) == ["optimizer.schedule='linear'"]
    # With the network frozen its rates end there, whatever comes later.
    assert schedules_of_steps(decaying | {"rule.freeze_step": 5}) == ["credit.schedule='cosine'"]


@pytest.mark.parametrize("constant", ["optimizer", "credit"])
def test_a_constant_rate_stays_beside_one_that_decays(constant):
    """Of the rates of the network and of the estimator, an extension may change only one."""
    cfg = CASES["credit vector"]()
    cfg.update_from_flattened_dict({"optimizer.schedule": "cosine", "credit.schedule": "cosine"})
    cfg.update_from_flattened_dict({f"{constant}.schedule": "constant"})
    cfg.steps, cfg.former_steps = 2 * cfg.steps, (cfg.steps,)
    ready = assembly.assemble(cfg)
    jax.eval_shape(ready.programs.block, ready.like, ready.data)


@pytest.mark.slow
def test_fewer_steps_or_another_field_are_refused(tiny, runs):
    for changed in (longer(tiny, 20), longer(tiny, 60, **{"optimizer.lr": 0.5})):
        with pytest.raises(RunDirError, match="was started with another config"):
            loop.run(changed, runs / "run", extend=True)


@pytest.mark.long
@pytest.mark.slow
def test_of_an_extended_schedule_every_step_is_known(tmp_path):
    """Up to the former length the old schedule, then the longer one; resumed and replayed so."""
    cfg = CASES["schedule cosine"]()
    cfg.checkpoint.keep = 9
    path = tmp_path / "run"
    loop.run(cfg, path)
    job = make_job("run", longer(cfg), tmp_path)
    assert train(job).status == "REFUSED"
    assert train(job, Policy(extend=True)).status == "DONE"
    twice = longer(cfg, 90)
    with pytest.raises(RunDirError, match="pass --extend"):
        loop.run(twice, path)
    stop_after(twice, path, 70, extend=True)
    assert loop.run(twice, path).status == "DONE"  # the same command, without the flag, too
    rate = open_run(path).array("scalar", "lr")[0]
    expected = [make_schedule(cfg.optimizer, n) for n in (30, 60, 90)]
    for step, lr in enumerate(rate):
        assert lr == pytest.approx(float(expected[step // 30](step)), rel=1e-5, abs=1e-10)
    with replay.open_timeline(path) as timeline:
        drift = replay.Drift(path / "records", 1)
        assert [step for step, _ in replay.states_at(timeline, [15, 55], drift)] == [15, 55]
        assert "bit for bit" in drift.describe()


@pytest.mark.long_except("begin")
@pytest.mark.slow
@pytest.mark.parametrize("place", ["begin", "write_json", "_reopen", "_train"])
def test_killed_while_it_is_reopened(place, tiny, runs, tmp_path, monkeypatch):
    shutil.copytree(runs / "run", tmp_path / "run")

    def killed(*_):
        raise KeyboardInterrupt

    of = {"begin": rundir.RunDir, "write_json": rundir.RunDir, "_reopen": loop, "_train": loop}
    with monkeypatch.context() as patch:
        patch.setattr(of[place], place, killed)
        with pytest.raises(KeyboardInterrupt):
            loop.run(longer(tiny), tmp_path / "run")
    loop.run(longer(tiny), tmp_path / "run")
    assert_same_run(runs / "whole", tmp_path / "run")


@pytest.mark.slow
def test_one_that_cannot_be_made_longer_is_what_it_was(tiny, runs, tmp_path):
    """Another record, or no checkpoint that can be read: the results of the run stay."""
    for name in ("drift", "checkpoint"):
        shutil.copytree(runs / "run", tmp_path / name)
    record = tmp_path / "drift" / "records" / "000000030.npz"
    arrays = read_npz(record)
    arrays["scalar/loss"] += 1e-4
    write_npz(record, arrays)
    for file in (tmp_path / "checkpoint" / "ckpt").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    for name, said in (
        ("drift", "differ from the record"),
        ("checkpoint", "no checkpoint is usable"),
    ):
        before = {p: p.read_bytes() for p in (tmp_path / name).rglob("*.[jn][sp]*") if p.is_file()}
        job = make_job(name, longer(tiny), tmp_path)
        for _ in range(2):
            result = train(job)
            assert result.status in ("REFUSED", "BROKEN") and said in result.reason
        after = {p: p.read_bytes() for p in (tmp_path / name).rglob("*.[jn][sp]*") if p.is_file()}
        assert after == before
        assert train(make_job(name, tiny, tmp_path)).status == "DONE"


@pytest.mark.long
@pytest.mark.slow
def test_killed_while_it_falls_back_to_an_earlier_checkpoint(tiny, runs, tmp_path, monkeypatch):
    shutil.copytree(runs / "run", tmp_path / "run")
    for file in (tmp_path / "run" / "ckpt" / "40").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")

    def killed(self, step):
        rundir_discard(self, step)
        raise KeyboardInterrupt

    rundir_discard = rundir.RunDir.discard_from
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rundir.RunDir, "discard_from", killed)
        loop.run(longer(tiny), tmp_path / "run")
    assert loop.run(longer(tiny), tmp_path / "run").status == "DONE"
    assert_same_run(runs / "whole", tmp_path / "run")


def test_an_interrupted_extension_is_not_done(tiny, runs, tmp_path):
    """Whatever its status says, as versions before this one could leave it."""
    shutil.copytree(runs / "run", tmp_path / "run")
    job = make_job("run", longer(tiny), tmp_path)
    write_json(tmp_path / "run" / "config.json", job.config)
    assert finished(job) is None and train(job).status == "DONE"
    assert_same_run(runs / "whole", tmp_path / "run")


@pytest.mark.long
@pytest.mark.slow
def test_snapshots_of_a_run_that_was_made_longer_stay(tiny, runs, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(runs / "run", path)
    for cfg, kind in ((tiny, "weights"), (longer(tiny), "gradients")):
        loop.run(cfg, path)
        with replay.open_timeline(path) as timeline:
            writer = snapshots.make_writer(timeline, [kind], 8)
            (file,) = snapshots.write_snapshots(writer, [20], path / "snapshots")
    kinds = {name.partition("/")[0] for name in read_npz(file)}
    assert {"weights", "gradients"} <= kinds


@pytest.mark.parametrize("free,refused", [(10_000, True), (10**12, False)])
def test_records_too_large_for_the_disk_are_refused_first(
    free, refused, tiny, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage)
    path = tmp_path / "not" / "there"
    if not refused:
        assert loop.run(tiny, path).status == "DONE"
        # What is done, or there already, needs no room.
        usage = usage._replace(free=10_000)
        assert loop.run(tiny, path).status == "DONE"
        return
    said = (
        f"writes .* MB of records and up to .* MB of checkpoints, and {tmp_path} has 0.01 MB free"
    )
    with pytest.raises(ConfigError, match=said):
        loop.run(tiny, path)
    assert not path.parent.exists()


@pytest.mark.long
def test_the_estimate_is_what_a_run_takes(tmp_path, monkeypatch):
    """Records within a tenth of what is on the disk."""
    cfg = small(steps=600, checkpoint__every=600, chunk_steps=300, probe__every=1)
    said = []
    monkeypatch.setattr(disk, "ConfigError", lambda text: said.append(text) or ConfigError(text))
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tmp_path)._replace(free=0)
        patch.setattr(disk.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(ConfigError):
            loop.run(cfg, tmp_path / "run")
    loop.run(cfg, tmp_path / "run")
    written = sum(p.stat().st_size for p in (tmp_path / "run" / "records").iterdir())
    promised = float(said[0].split("writes ")[1].split(" MB")[0]) * 1e6
    assert 0.9 * written < promised < 1.1 * written
