"""Records of a run, sent to TensorBoard or Weights & Biases while they are written.

The run directory stays the record of the experiment. A logger that fails is left out from then on,
and never stops a run.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from analysis.live.run_watcher import POLL
from analysis.runs.reader import read_manifest
from analysis.runs.tables import points
from tapjax.contract.files import RunError, read_npz
from tapjax.contract.layout import record_steps
from tapjax.contract.text import did_you_mean


class Logger(NamedTuple):
    """Pair of functions: `log(step, values)`, with values by seed and name, and `close()`."""

    log: Callable
    close: Callable


def tensorboard(path: Path, config: dict) -> Logger:
    """Write RUN/tensorboard/seed_SEED; `tensorboard --logdir RUN/tensorboard` shows it."""
    from tensorboardX import SummaryWriter

    folders = {seed: path / "tensorboard" / f"seed_{seed}" for seed in config["seeds"]}
    writers = {seed: SummaryWriter(str(folder)) for seed, folder in folders.items()}

    def log(step, by_seed):
        for seed, values in by_seed.items():
            for name, value in values.items():
                writers[seed].add_scalar(name, value, step)

    def close():
        for writer in writers.values():
            writer.close()

    return Logger(log, close)


def wandb(path: Path, config: dict) -> Logger:
    """Log to Weights & Biases, offline in RUN/wandb unless WANDB_MODE says otherwise.

    With several seeds, names begin with `seed_SEED/`.
    """
    import wandb as library

    run = library.init(
        mode=os.environ.get("WANDB_MODE", "offline"), dir=path, name=path.name, config=config,
        project=os.environ.get("WANDB_PROJECT", "tapjax"),
        settings=library.Settings(console="off", silent=True),
    )  # fmt: skip
    several = len(config["seeds"]) > 1

    def log(step, by_seed):
        prefixed = {seed: f"seed_{seed}/" if several else "" for seed in by_seed}
        run.log(
            {f"{prefixed[s]}{n}": v for s, values in by_seed.items() for n, v in values.items()},
            step=step,
        )

    return Logger(log, run.finish)


LOGGERS = {"tensorboard": tensorboard, "wandb": wandb}


def check(names) -> None:
    """Refuse unknown names of loggers, and those whose library is not installed.

    Args:
      names: keys of `LOGGERS`.

    Raises:
      RunError: the message names the logger and says what to do.
    """
    import importlib

    for name in names:
        if name not in LOGGERS:
            known = ", ".join(LOGGERS)
            raise RunError(f"--log={name} is not one of {known}{did_you_mean(name, LOGGERS)}")
        library = {"tensorboard": "tensorboardX"}.get(name, name)
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise RunError(f"--log={name} needs {library}: pip install 'tapjax[{name}]'") from error


class Forwarding:
    """Loggers of one run directory, which receive the records that it gains from now on."""

    def __init__(self, path: Path, names, say: Callable[[str], None]):
        """Note the records that are there.

        Args:
          path: run directory; it need not exist yet.
          names: keys of `LOGGERS`.
          say: function that receives one line when a logger fails.
        """
        self._path, self._names, self._say = Path(path), list(names), say
        self._loggers: dict[str, Logger] | None = None
        self._sent = set(record_steps(self._path / "records").values())

    def catch_up(self) -> None:
        """Send the records that were not sent before."""
        for path in record_steps(self._path / "records").values():
            if path in self._sent:
                continue
            self._sent.add(path)
            *_, model, config, _ = read_manifest(self._path)
            if self._loggers is None:
                self._loggers = {}
                for name in self._names:
                    opened = self._try(name, LOGGERS[name], self._path, config)
                    self._loggers |= {name: opened} if opened else {}
            by_step = points(read_npz(path), config["seeds"], model["layer_names"])
            for name in list(self._loggers):
                for step, by_seed in by_step:
                    if name in self._loggers:
                        self._try(name, self._loggers[name].log, step, by_seed)

    def close(self) -> None:
        """Close all loggers."""
        for name, logger in list((self._loggers or {}).items()):
            self._try(name, logger.close)

    def _try(self, name, call, *args):
        try:
            return call(*args)
        except Exception as error:  # a logger is foreign code, and must not stop the run
            self._say(f"logger {name} failed and is left out: {type(error).__name__}: {error}")
            self._loggers.pop(name, None)
            return None


def forward_until(ended: threading.Event, path: Path, names, say: Callable[[str], None]) -> None:
    """Send records to loggers until an event is set, and the rest then.

    Args:
      ended: event that is set when the run has ended.
      path: run directory.
      names: keys of `LOGGERS`.
      say: function that receives one line when a logger fails or a record cannot be read.
    """
    forwarding = Forwarding(path, names, say)
    last = False
    try:
        while not last:
            last = ended.wait(POLL)
            forwarding.catch_up()
    except (OSError, RunError) as error:
        say(f"loggers: {error}")
    finally:
        forwarding.close()
