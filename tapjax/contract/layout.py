"""The run directory's contract, shared by the side that writes it and the side that reads it.

RUN/config.json env.json data.json model.json   written once, config.json last
RUN/records/000000000.npz ...                    one file a chunk, named by its first step
RUN/ckpt/  RUN/STATUS.json  RUN/log.txt  RUN/lock
RUN/reserve                                      while it runs: room for STATUS.json on a full disk
RUN/jumps.json  RUN/pinned.json  RUN/pins/       jumps found while training; why which steps stay
RUN/snapshots/000001200.npz ...                  what the network held before a step's update

A record file holds `step [T]` and `scalar/NAME [S, T]`; `probe_step [T']` and
`probe/NAME [S, T', ...]`; and, where the test split was evaluated, `eval_step [E]` and
`eval/NAME [S, E]`. Probes are taken before the step they are named by; the last file also holds
the final state's. A snapshot file holds `step`, `seeds [S]`, `probe_y [P]`, `config` (its hash)
and what `RECORDS` lists, each [S, ...]. Only NumPy is needed to read or write it, and nothing is
pickled.
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
STATUSES = ("RUNNING", "DONE", "DIVERGED", "FAILED", "PREEMPTED")
# Which step axis a group of arrays runs along.
STEP_AXES = {"scalar": "step", "probe": "probe_step", "eval": "eval_step"}

# What every snapshot holds, and what it may hold, and under which names.
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
    """File name of the chunk that starts at a step."""
    return f"{first_step:09d}.npz"


def record_steps(folder: Path) -> dict[int, Path]:
    """Record files of a run by their first step, in order; copies under other names are none."""
    found = [path for path in folder.glob("*.npz") if re.fullmatch(r"\d{9,}", path.stem, re.ASCII)]
    return {int(path.stem): path for path in sorted(found, key=lambda path: int(path.stem))}


def filters(weights) -> dict:
    """The convolution kernels among the weights, by the layer's name."""
    return {
        path.removesuffix("/kernel"): kernel for path, kernel in weights.items() if kernel.ndim == 4
    }


def write_json(path: Path, value) -> None:
    """Write JSON atomically and durably.

    Args:
      path: destination.
      value: JSON-serialisable.
    """
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text atomically and durably.

    Args:
      path: destination.
      text: its content.
    """
    replace_file(path, lambda file: file.write(text.encode()))


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz atomically and durably.

    Args:
      path: destination.
      arrays: name -> array, none of dtype object.
    """
    replace_file(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def is_scratch(path: Path) -> bool:
    """Whether a file is what a process left behind that was killed within `replace_file`."""
    return re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name) is not None


def replace_file(path: Path, write) -> None:
    """Write a file atomically and durably: readers see the old one or the new one.

    Args:
      path: destination.
      write: function of an open binary file.
    """
    scratch = path.with_name(f".{secrets.token_hex(8)}.tmp")  # nobody else's; see `is_scratch`
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
