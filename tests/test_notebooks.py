"""Every notebook runs, and the committed outputs are those of the committed source."""

import importlib.util
import json
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="needs the extra [notebooks]")

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
MOST_BYTES = 500_000


def load_execute():
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.execute


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_belong_to_the_source(name):
    pair = [jupytext.read(FOLDER / f"{name}.{ending}") for ending in ("py", "ipynb")]
    source, executed = ([cell.source for cell in notebook.cells] for notebook in pair)
    assert source == executed
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MOST_BYTES


def test_there_is_a_notebook_for_every_family_and_for_what_all_of_them_share():
    families = {"credit", "mechanistic", "motifs", "plasticity", "tap"}
    assert set(NAMES) == families | {"abilities", "measures", "own_loop"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_loop"])
def test_the_notebook_without_jax_runs(name, tmp_path):
    load_execute()(FOLDER / f"{name}.py", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in NAMES if name != "own_loop"])
def test_a_notebook_runs(name, tmp_path):
    notebook = load_execute()(FOLDER / f"{name}.py", tmp_path)
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "error:" not in text
