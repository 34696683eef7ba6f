"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("tapjax", "analysis")
    for path in (ROOT / folder).rglob("*.py")
    if ">>>" in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    library = name.removeprefix("tapjax.adapters.")  # equinox, keras and torch are extras
    if library != name:
        needed = {"linen": "flax", "nnx": "flax", "checkpoints": "orbax.checkpoint"}
        pytest.importorskip(needed.get(library, library))
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed
