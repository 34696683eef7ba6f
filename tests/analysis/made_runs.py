"""Run directories with known content, for the tests of the analysis."""

import json

import numpy as np

from tapjax.contract.layout import SCHEMA, record_name, write_json, write_npz

STEPS, EVERY = 600, 5


def write_run(
    path, d_SxT, loss_SxT=None, chunk=STEPS, status="DONE", layers=("a", "b", "head"), **more
):
    """Write a run whose hidden layers have dimension D(t), and whose head has 99 everywhere.

    Further arrays are named as in a record, `probe/accuracy` and the like.
    """
    seeds, points = d_SxT.shape
    steps = (points - 1) * EVERY
    probe = np.stack([d_SxT - 1, d_SxT + 1, np.full_like(d_SxT, 99.0)], -1)
    loss = np.ones((seeds, steps)) if loss_SxT is None else loss_SxT
    (path / "records").mkdir(parents=True)
    for first in range(0, steps, chunk):
        last = min(first + chunk, steps)
        end = last + EVERY if last == steps else last
        record = {
            "step": np.arange(first, last),
            "probe_step": np.arange(first, end, EVERY),
            "scalar/loss": loss[:, first:last],
            "scalar/grad_norm": np.ones((seeds, last - first)),
        }
        for name, values in ({"probe/participation_ratio": probe} | more).items():
            each = EVERY if name.startswith("probe/") else 1
            stop = -(-end // EVERY) if each == EVERY else last
            record[name] = values[:, first // each : stop]
        write_npz(path / "records" / record_name(first), record)
    write_json(path / "env.json", {"schema": SCHEMA})
    write_json(path / "data.json", {})
    model = {"architecture": "toy", "data": "planted", "layer_names": list(layers)}
    model |= {"head": layers[-1], "dimension": "participation_ratio", "synthetic": True}
    write_json(path / "model.json", model)
    write_json(path / "STATUS.json", {"status": status, "step": steps, "reason": ""})
    write_json(path / "config.json", {"seeds": list(range(seeds)), "steps": steps})
    return path


def collapse_and_recovery(t):
    """The usual shape of D(t): a fast collapse, then a slow recovery."""
    return np.exp(2.0 - 1.5 * (1 - np.exp(-t / 20)) + 0.8 * (1 - np.exp(-t / 250)))


def set_status(path, **fields):
    status = json.loads((path / "STATUS.json").read_text())
    write_json(path / "STATUS.json", status | fields)
