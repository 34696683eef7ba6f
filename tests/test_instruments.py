"""The page of instruments names every array that a run of each family records, and no other."""

import re
from pathlib import Path

import jax

from configs.credit import ladder
from configs.motifs import mlp_fashion
from configs.plasticity import cloning, continual
from configs.tap import calibration, emergence
from tapjax.run.assembly import assemble

PAGE = (Path(__file__).parents[1] / "docs" / "guides" / "instruments.md").read_text()
CONFIGS = {
    "tap": (calibration, "quick,arch=mlp:widths=8"),
    "skills": (emergence, "quick,task=mixture"),
    "credit": (ladder, "quick"),
    "plasticity": (continual, "quick"),
    "clones": (cloning, "quick,dataset=digits"),
    "motifs": (mlp_fashion, "quick"),
}


def recorded(name):
    """Return the names of the arrays that a run records, without computing them."""
    config, arg = CONFIGS[name]
    ready = assemble(config.get_config(arg))
    record = jax.eval_shape(ready.programs.block, ready.like, ready.data)[1]
    evaluation = jax.eval_shape(ready.programs.evaluate, ready.like, ready.data)
    return {re.sub("^x[0-9]_", "", name) for name in (*record.scalars, *record.probe, *evaluation)}


def test_the_page_names_what_is_recorded():
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row[0])}
    found = set().union(*(recorded(name) for name in CONFIGS))
    assert found == told
