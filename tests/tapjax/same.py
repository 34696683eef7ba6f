"""When two runs are the same, bit for bit; and a run that broke off."""

import pytest

from launch.benchmarks.soak import differences
from tapjax.run import loop


def assert_same_run(expected, actual):
    """Assert that two run directories hold the same arrays and the same final digests."""
    assert differences(expected, actual) == []


def unfinished_run(cfg, path):
    """A run that broke off after its last checkpoint and before it was declared done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_finish", lambda *args: (_ for _ in ()).throw(OSError("stop")))
        with pytest.raises(OSError):
            loop.run(cfg, path)
