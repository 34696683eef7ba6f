import os
import shutil

import numpy as np
from bokeh.document import Document

from analysis.figures.live_page import Page
from analysis.live.followed import Followed, Thinned
from tests.analysis.live.test_followed import run_in_parts
from tests.analysis.made_runs import set_status


def lengths(page):
    return {key: len(source.data["step"]) for key, source in page.sources.items()}


def test_an_open_page_gains_points_runs_and_jumps(tmp_path):
    path, d_SxT, later = run_in_parts(tmp_path)
    run = Followed(path)
    run.catch_up()
    page = Page(Document(), [run])
    assert lengths(page)["run", "D"] == 20 and lengths(page)["run", "loss"] == 100
    assert lengths(page)["run", "forecast"] == 3 and "RUNNING" in page.said.text
    for record in later:
        os.replace(tmp_path / record.name, record)
    run.catch_up()
    roots = page.document.roots
    page.update([run])
    assert page.document.roots == roots  # nothing is drawn anew, so a zoom stays
    assert lengths(page)["run", "D"] == d_SxT.shape[1] and lengths(page)["run", "jumps"] >= 1
    set_status(path, status="DONE")
    shutil.copytree(path, tmp_path / "other")
    other = Followed(tmp_path / "other")
    other.catch_up()
    page.update([other, run])
    assert lengths(page)["other", "D"] == lengths(page)["run", "D"] == d_SxT.shape[1]
    assert lengths(page)["run", "forecast"] == 0 and page.said.text.count("DONE") == 2


def test_a_seed_that_diverged_leaves_the_others_on_the_page(tmp_path):
    path, d_SxT, _ = run_in_parts(tmp_path)
    run = Followed(path)
    run.catch_up()
    lost = np.array([[1.0], [np.nan]])
    run.curves["D"].add([100], lost)
    page = Page(Document(), [run])
    source = page.sources["run", "D"].data
    assert source["step"][-1] == 100 and source["mean"][-1] == source["low"][-1] == 1
    assert "D 1.00, not finite in 1 seed" in page.said.text
    run.curves["D"].add([105], np.full((2, 1), np.nan))
    page.update([run])
    assert page.sources["run", "D"].data["step"][-1] == 100


def test_a_run_without_records_waits_on_the_page(tmp_path):
    path, _, _ = run_in_parts(tmp_path)
    (path / "records" / "000000000.npz").unlink()
    page = Page(Document(), [Followed(path)])
    assert set(lengths(page).values()) == {0}
    assert page.said.text == "<div>run: RUNNING at step 1,000 of 1,000</div>"


def test_a_series_that_was_thinned_to_its_old_length_is_drawn(tmp_path):
    path, _, _ = run_in_parts(tmp_path)
    run = Followed(path)
    run.curves["D"] = Thinned(20)
    run.curves["D"].add(np.arange(12), np.ones((1, 12)))
    page = Page(Document(), [run])
    run.curves["D"].add(np.arange(12, 24), np.ones((1, 12)))
    assert len(run.curves["D"].arrays()[0]) == 12
    page.update([run])
    assert page.sources["run", "D"].data["step"][-1] == 22
