"""When two runs are the same, bit for bit; and a run that broke off."""

import json

import numpy as np
import pytest

from analysis.layout import record_steps
from tapjax import loop


def assert_same_run(expected, actual):
    """Assert that two run directories hold the same arrays and the same final digests."""
    ours, theirs = (record_steps(path / "records") for path in (actual, expected))
    assert list(ours) == list(theirs)
    for first, path in theirs.items():
        with np.load(path) as a, np.load(ours[first]) as b:
            assert sorted(a.files) == sorted(b.files)
            for name in a.files:
                np.testing.assert_array_equal(a[name], b[name], err_msg=f"{first} {name}")
    assert final_digests(actual) == final_digests(expected)


def final_digests(path):
    """The sha256 of every leaf of the last checkpoint."""
    last = max(
        (p for p in (path / "ckpt").iterdir() if p.name.isdigit()), key=lambda p: int(p.name)
    )
    return json.loads((last / "digests" / "metadata").read_text())


def unfinished_run(cfg, path):
    """A run that broke off after its last checkpoint and before it was declared done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_finish", lambda *args: (_ for _ in ()).throw(OSError("stop")))
        with pytest.raises(OSError):
            loop.run(cfg, path)
