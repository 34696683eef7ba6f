"""A short run of each family gives the numbers that were recorded at commit 2a41a21.

Recorded before the modules were moved into rooms; a move, a rename or a clean-up must not change
them. Changing golden.npz is legitimate where the numbers of a run are meant to change: a fixed
fault of the arithmetic, another default, another initialisation. Say so in the commit, and run
`python -m tests.tapjax.run.test_golden`. Another CPU or jaxlib changes the last bits only.
"""

import importlib
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tapjax.run import loop

GOLDEN = Path(__file__).with_name("golden.npz")
SHORT = {"seeds": (0, 1), "steps": 40, "chunk_steps": 20, "eval_every": 20}
SHORT |= {"data.train_size": 200, "data.test_size": 100, "probe.size": 64, "probe.every": 10}
SHORT |= {"data.batch_size": 16, "scalar_bin": 1, "checkpoint.every": 20, "checkpoint.pin_jumps": 0}
TASKS = {"tasks.steps": 20}
RUNS = {
    "tap": ("tap.calibration", "arch=mlp:widths=12-8", {}),
    "tap_cnn": ("tap.calibration", "arch=cnn:channels=2-3", {"over_seeds": "loop"}),
    "credit": ("credit.online", "method=vector_response,dataset=digits,width=8,depth=2", {}),
    "plasticity": ("plasticity.continual", "arch=mlp:widths=8-8,mitigation=cbp", TASKS),
    "cloning": ("plasticity.cloning", "dataset=digits,arch=mlp:widths=8", {"clone.step": 10}),
    "motifs": ("motifs.mlp_fashion", "", {"data.name": "digits", "model.name": "mlp:widths=8-8"}),
}


def short(name):
    module, arguments, fields = RUNS[name]
    cfg = importlib.import_module(f"configs.{module}").get_config(arguments)
    cfg.update_from_flattened_dict(SHORT | fields)
    return cfg


def records(name, path) -> dict[str, np.ndarray]:
    assert loop.run(short(name), path).status == "DONE"
    found = {}
    for part in sorted((path / "records").iterdir()):
        with np.load(part) as arrays:
            for key in arrays.files:
                found.setdefault(key, []).append(arrays[key])
    return {f"{name}:{key}": np.concatenate(parts, -1) for key, parts in found.items()
            if key in ("scalar/loss", "scalar/grad_norm")}  # fmt: skip


@pytest.mark.long_except("tap]", "credit]", "plasticity]")
@pytest.mark.slow_except("tap]")
@pytest.mark.parametrize("name", RUNS)
def test_the_numbers_of_a_run_stay(name, tmp_path):
    with np.load(GOLDEN) as golden:
        for key, values in records(name, tmp_path / "run").items():
            np.testing.assert_allclose(values, golden[key], rtol=2e-4, atol=1e-6, err_msg=key)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = [records(name, Path(folder) / name) for name in RUNS]
    np.savez_compressed(GOLDEN, **{key: a for run in made for key, a in run.items()})
