"""A run directory is complete or recoverable at every file operation.

The directory is copied before every operation that creates, renames, removes or flushes a file, as
a kill at that moment would leave it; a run is resumed from each copy and has to end as the
undisturbed one. Every point: python -m pytest -m long tests/tapjax/run/test_crash_points.py
"""

import os
import shutil

import pytest

from tapjax.run import loop
from tests.tapjax.run.test_resume_matrix import CASES
from tests.tapjax.same import assert_same_run

pytestmark = [pytest.mark.usefixtures("full_compile"), pytest.mark.fault, pytest.mark.timeout(1800)]
OPERATIONS = ("open", "mkdir", "replace", "rename", "unlink", "rmdir", "fsync")
FAMILIES = {
    "short": "schedule constant",
    "tap": "model cnn:channels=2-3", "plasticity": "mitigation cbp", "clone": "clone",
    "credit": "credit vector", "motifs": "recording",
}  # fmt: skip


def crash_points(cfg, path, copies):
    """Train, and keep a copy of the directory before every operation that changes it.

    Returns:
      The copies that differ from the one before, each by the operation that came next.
    """
    kept, busy = {}, []

    def watched(name, operation):
        def call(*args, **options):
            if path.exists() and not busy and _writes(name, args):
                busy.append(True)
                copy = copies / str(len(kept))
                shutil.copytree(path, copy)
                seen = _listing(copy)
                if seen in kept:
                    shutil.rmtree(copy)
                else:
                    kept[seen] = (name, copy)
                busy.clear()
            return operation(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        assert loop.run(cfg, path).status == "DONE"
    return list(kept.values())


def _writes(name, args):
    return name != "open" or bool(args[1:] and args[1] & (os.O_CREAT | os.O_TRUNC))


def _listing(path):
    return tuple((str(p.relative_to(path)), p.stat().st_size) for p in sorted(path.rglob("*")))


@pytest.mark.slow
@pytest.mark.parametrize(
    "family,tried",
    [
        ("short", 4),
        *(pytest.param(f, None, marks=pytest.mark.long) for f in FAMILIES if f != "short"),
    ],
)
def test_a_run_killed_at_any_file_operation_goes_on(family, tried, tmp_path):
    (tmp_path / "copies").mkdir()
    cfg = CASES[FAMILIES[family]]()
    points = crash_points(cfg, tmp_path / "run", tmp_path / "copies")
    assert len(points) >= 20
    chosen = points[:: len(points) // tried if tried else 1]
    for name, copy in chosen:
        assert loop.run(cfg, copy).status == "DONE", name
        assert_same_run(tmp_path / "run", copy)
    print(f"{family}: {len(chosen)} of {len(points)} points")
