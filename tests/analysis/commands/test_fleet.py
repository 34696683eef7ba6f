import shutil

import numpy as np

from analysis.commands import live
from tapjax.contract.layout import write_json
from tests.analysis.made_runs import write_run


def test_one_unreadable_run_hides_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(live, "EVERY", 0.0)
    for name in ("a", "b", "c"):
        write_run(tmp_path / name, np.ones((1, 11)))
    write_json(tmp_path / "b" / "env.json", {"schema": 99})
    fleet = live.Fleet([tmp_path])
    assert [run.name for run in fleet.update()] == ["a", "c"]
    assert capsys.readouterr().err.count("schema 99") == 1
    shutil.rmtree(tmp_path / "a")
    assert [run.name for run in fleet.update()] == ["c"]
    shutil.rmtree(tmp_path)
    assert fleet.update() == []
