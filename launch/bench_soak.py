"""Runs killed at random moments, over and over: what they end with equals what nobody touched."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from analysis.layout import record_steps

KILLS = 15  # a config
TAP, CREDIT = "configs/tap/calibration.py:quick,seeds=2,", "configs/credit/online.py:quick,seeds=2,"
PLASTIC = "configs/plasticity/continual.py:quick,seeds=2,"
# Name -> config and overrides: short chunks, so that there is much to interrupt.
RUNS = {
    "mlp": (TAP + "arch=mlp_medium_5", "chunk_steps=20", "checkpoint.every=40", "steps=1000"),
    "cnn": (TAP + "arch=cnn:channels=4-8", "chunk_steps=20", "checkpoint.every=20"),
    "resnet": (TAP + "arch=resnet:channels=4-8", "chunk_steps=20", "checkpoint.every=60"),
    "transformer": (TAP + "arch=transformer:depth=1,width=16,heads=2", "chunk_steps=20"),
    "vit": (TAP + "arch=vit:depth=1,width=16,heads=2", "chunk_steps=20", "over_seeds=map"),
    "dfa": (CREDIT + "dataset=digits,method=dfa,width=32,depth=2", "checkpoint.every=40"),
    "state bridge": (CREDIT + "dataset=digits,method=state_bridge,width=32,depth=2",),
    "vector field": (CREDIT + "dataset=digits,method=vector_response,width=32,depth=2",),
    "residual_conv": (CREDIT + "dataset=digits,net=residual_conv,width=4,depth=2,method=vector",),
    "lq": ("configs/credit/lq.py:quick,seeds=2,method=state_bridge", "checkpoint.every=100"),
    "continual backprop": (PLASTIC + "mitigation=cbp",),
    "redo": (PLASTIC + "mitigation=redo",),
    "cloning": (
        "configs/plasticity/cloning.py:quick",
        "seeds=(0,1)",
        "chunk_steps=20",
        "checkpoint.every=20",
    ),
    "motifs": ("configs/motifs/mlp_fashion.py:quick,seeds=2,dataset=digits", "chunk_steps=20"),
}


def soak(turns: int, names=tuple(RUNS), kills: int = KILLS) -> list[dict]:
    """Kill runs of every family at random moments and compare their ends.

    Args:
      turns: not used: one kill more is one turn more.
      names: keys of `RUNS`.
      kills: of each.

    Returns:
      One row a config: kills by signal, at which steps, how many runs it took and whether
      all ended with the bits of the undisturbed one.
    """
    del turns
    with tempfile.TemporaryDirectory() as scratch:
        return [_soak_one(name, Path(scratch) / name.replace(" ", "_"), kills) for name in names]


def _soak_one(name, folder, kills):
    began = time.monotonic()
    _start(name, folder / "warm").wait()  # compiles
    undisturbed, start = folder / "undisturbed", time.monotonic()
    if _start(name, undisturbed).wait() != 0:
        raise OSError(f"soak: the undisturbed run of {name!r} failed")
    whole = time.monotonic() - start
    moment, runs, wrong = random.Random(name), 0, []
    killed = {"SIGKILL": 0, "SIGTERM": 0}
    at = []
    while sum(killed.values()) < kills:
        path, runs = folder / str(runs), runs + 1
        while (path / "STATUS.json").exists() is False or _status(path)["status"] != "DONE":
            enough = sum(killed.values()) >= kills
            how = moment.choice(["SIGKILL"] * 4 + ["SIGTERM"])
            process = _start(name, path)
            if not enough and _kill(process, how, moment.uniform(0.1, 1.1) * whole):
                killed[how] += 1
                at.append(_status(path).get("step", 0))
            elif process.wait() not in (0, 75):
                raise OSError(f"soak: {name!r} could not be resumed")
        wrong += differences(undisturbed, path)
    return {
        "what": name,
        **killed,
        "at_steps": at,
        "runs": runs,
        "differences": wrong,
        "seconds": round(time.monotonic() - began),
    }


def _start(name, path):
    config, *overrides = RUNS[name]
    command = [sys.executable, "-m", "launch.run", f"--config={config}", f"--workdir={path}"]
    command += [f"--config.{override}" for override in overrides]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _kill(process, how, seconds):
    """Send a signal after a while; whether the process was still there, and ended by it."""
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.kill(process.pid, getattr(signal, how))
        return process.wait() != 0


def _status(path):
    file = path / "STATUS.json"
    return json.loads(file.read_text()) if file.exists() else {}


def differences(expected: Path, actual: Path) -> list[str]:
    """Where two runs differ in any bit of their records and final states.

    Args:
      expected: a run directory.
      actual: another.

    Returns:
      One line a difference.
    """
    found = []
    theirs, ours = (record_steps(path / "records") for path in (expected, actual))
    if list(theirs) != list(ours):
        return [f"records {list(ours)} instead of {list(theirs)}"]
    for first, path in theirs.items():
        with np.load(path) as a, np.load(ours[first]) as b:
            if sorted(a.files) != sorted(b.files):
                found.append(f"record {first} holds other arrays")
                continue
            found += [f"record {first}: {n}" for n in a.files if not _same(a[n], b[n])]
    if final_digests(expected) != final_digests(actual):
        found.append("the final state")
    return found


def _same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def final_digests(path: Path) -> dict[str, str]:
    """The sha256 of every leaf of a run's last checkpoint."""
    last = max(int(p.name) for p in (path / "ckpt").iterdir() if p.name.isdigit())
    return json.loads((path / "ckpt" / str(last) / "digests" / "metadata").read_text())
