"""Layout of the run directory, shared by the code that writes it and the code that reads it.

RUN/config.json env.json data.json model.json   written once, config.json last
RUN/records/000000000.npz ...                    one file per chunk, named by its first step
RUN/ckpt/  RUN/STATUS.json  RUN/log.txt  RUN/lock
RUN/reserve                                      during a run: room for STATUS.json on a full disk
RUN/jumps.json                                   jumps found during training
RUN/pinned.json  RUN/pins/                       reasons for pinned steps, and their checkpoints
RUN/snapshots/000001200.npz ...                  contents of the network before a step's update
RUN/measures/NAME/000001200.npz ...              further measures, during training or by replay
RUN/interventions/000001150-000001250.npz ...    effects of interventions between two steps
RUN/interventions/moments.json                   critical steps that they belong to

A record file holds `step [T]` and `scalar/NAME [S, T]`, and `probe_step [T']` and
`probe/NAME [S, T', ...]`. If the test split was evaluated, it also holds `eval_step [E]` and
`eval/NAME [S, E]`. The probe with the number of a step is taken before that step. The last file
also holds the probe of the final state. A snapshot file holds `step`, `seeds [S]`, `probe_y [P]`,
`config` (the hash of the config) and the arrays that `RECORDS` lists, each [S, ...]. Reading and
writing need only NumPy, and nothing is pickled.
"""

import contextlib
import json
import os
import re
import secrets
from pathlib import Path

import numpy as np

SCHEMA = 1
MANIFEST = ("env.json", "data.json", "model.json", "config.json")
MEASURES_FOLDER, INTERVENTIONS = "measures", "interventions"
# Measures whose quantities with one value per layer, or per weight matrix, are labelled by them.
OF_LAYERS = ("dimension", "intrinsic_dimension", "probe_again")
OF_WEIGHTS = ("noise_scale", "weight_spectrum")
STATUSES = ("RUNNING", "DONE", "DIVERGED", "FAILED", "PREEMPTED")
# Group of arrays -> name of the array that holds the steps of its time axis.
STEP_AXES = {"scalar": "step", "probe": "probe_step", "eval": "eval_step"}

# Dimensionalities that are computed from one spectrum, in the order of their computation.
DIMENSIONS = (
    "stable_rank",
    "participation_ratio",
    "effective_rank_90",
    "nuclear_norm_ratio",
    "covariance_participation_ratio",
)

# Arrays that every snapshot holds, and groups of arrays that it may hold, with their names.
SNAPSHOT = ("step", "seeds", "probe_y", "config")
RECORDS = {
    "weights": "weights/PATH and stats/PATH: every parameter, batch statistics",
    "optimizer": "optimizer/PATH: the optimizer's state",
    "gradients": "gradients/PATH: what the optimizer gets at that step",
    "activations": "activations/LAYER [P, D], of each unit its mean over space or tokens; "
    "class_mean/LAYER [C, D]; positive/LAYER [D], its share of values above zero",
    "maps": "maps/LAYER [P', H, W, C] or [P', Q, D]: not averaged, of a few examples",
    "attention": "attention/LAYER [P', H, Q, Q]: probabilities, of a few examples",
    "filters": "filters/LAYER [h, w, C, D]: convolution kernels",
}


def record_name(first_step: int) -> str:
    """Return the file name of the chunk that starts at a step."""
    return f"{first_step:09d}.npz"


def record_steps(folder: Path) -> dict[int, Path]:
    """Find the record files of a run.

    Files with other names, such as copies, are ignored.

    Args:
      folder: folder of the record files.

    Returns:
      First step -> path, in the order of the steps.
    """
    found = [path for path in folder.glob("*.npz") if re.fullmatch(r"\d{9,}", path.stem, re.ASCII)]
    return {int(path.stem): path for path in sorted(found, key=lambda path: int(path.stem))}


def measure_files(run: Path, name: str) -> list[Path]:
    """Find the files of a measure of a run, in the order of their first steps."""
    return list(record_steps(run / MEASURES_FOLDER / name).values())


def measure_names(run: Path) -> list[str]:
    """Find the measures that were made of a run, in alphabetical order."""
    folder = run / MEASURES_FOLDER
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path.name for path in found if record_steps(path)]


def pair_name(before: int, after: int) -> str:
    """Return the file name of the interventions between two steps."""
    return f"{before:09d}-{after:09d}.npz"


def filters(weights) -> dict:
    """Return the convolution kernels among the weights.

    Args:
      weights: path of the parameter -> array.

    Returns:
      Name of the layer -> kernel, for each array with four axes.
    """
    return {
        path.removesuffix("/kernel"): kernel for path, kernel in weights.items() if kernel.ndim == 4
    }


def write_json(path: Path, value) -> None:
    """Write a JSON file atomically and durably.

    Args:
      path: path of the file.
      value: value that can be serialised as JSON, without NaN or infinity.
    """
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically and durably.

    Args:
      path: path of the file.
      text: content of the file.
    """
    replace_file(path, lambda file: file.write(text.encode()))


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz file atomically and durably.

    Args:
      path: path of the file.
      arrays: name -> array, none of dtype object.
    """
    replace_file(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def is_scratch(path: Path) -> bool:
    """Decide whether a file was left behind by a process that was killed in `replace_file`."""
    return re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name) is not None


def replace_file(path: Path, write) -> None:
    """Write a file atomically and durably.

    Readers see either the complete old file or the complete new file.

    Args:
      path: path of the file.
      write: function that writes the content to an open binary file.

    Raises:
      OSError: if the file cannot be written; its file name is `path`.
    """
    scratch = path.with_name(f".{secrets.token_hex(8)}.tmp")  # a unique name; see `is_scratch`
    try:
        with open(scratch, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
