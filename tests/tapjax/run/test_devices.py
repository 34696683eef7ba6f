"""Seeds spread over devices: the same numbers, one compilation, a share of the memory each."""

import json
import subprocess
import sys

import numpy as np
import pytest

from analysis import open_run
from tapjax.step import blocks


def drive(path, devices):
    return subprocess.run(
        [sys.executable, "-m", "tests.tapjax.run.device_driver", str(path), str(devices)],
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    path = tmp_path_factory.mktemp("devices") / "run"
    result = drive(path, 1)
    assert result.returncode == 0, result.stderr
    return path, json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_seeds_over_devices(on_one, devices, tmp_path):
    result = drive(tmp_path / "run", devices)
    assert result.returncode == 0, result.stderr
    told, alone = json.loads(result.stdout), on_one[1]
    assert told["devices"] == devices
    assert told["compilations"] == 1 == alone["compilations"]
    assert told["bytes"] < 1.2 * alone["bytes"] / devices
    run, expected = open_run(tmp_path / "run"), open_run(on_one[0])
    assert run.env["devices"] == devices and run.seeds == [0, 1, 2, 3]
    for group, name in (("scalar", "loss"), ("scalar", "grad_norm"), ("eval", "accuracy")):
        ours, theirs = run.array(group, name), expected.array(group, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.dimension(), expected.dimension(), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.fault
def test_another_number_of_devices_is_refused(on_one):
    result = drive(on_one[0], 2)
    assert result.returncode != 0 and "devices: 1 -> 2" in result.stderr


@pytest.mark.parametrize(
    ("seeds", "devices", "used"), [(8, 4, 4), (6, 4, 3), (5, 8, 5), (7, 4, 1), (1, 8, 1)]
)
def test_as_many_devices_as_leave_each_an_equal_number(seeds, devices, used, monkeypatch):
    monkeypatch.setattr(blocks.jax, "local_device_count", lambda: devices)
    assert blocks.devices_for(seeds) == used
