"""Watcher of a run directory, to use while the run is being written or afterwards.

The watcher only reads files, and it reads each record once. The training process is not affected.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from analysis.live.followed import value_at
from analysis.runs.reader import DivergedError, open_run, read_manifest
from analysis.tap.emergence import capabilities
from analysis.tap.signals import signals
from tapjax.contract.files import RunError, read_json, read_npz
from tapjax.contract.layout import record_steps
from tapjax.contract.text import plural
from tapjax.live.alarms import Alarms
from tapjax.live.monitor import METHODS, Monitor, Report

POLL = 1.0  # seconds
PATIENCE = 60.0  # seconds without new records before the user is told


class Watch:
    """One live monitor per seed, which receives the records of a run directory as they appear."""

    def __init__(
        self, path, metric: str | None = None, method: str = METHODS[0], rules: Sequence = ()
    ):
        """Open a run directory.

        Args:
          path: run directory.
          metric: name of the dimensionality metric; None uses the metric that the run names.
          method: forecasting method, one of `monitor.METHODS`.
          rules: AlarmRules of signals that warn of an ability, see `tapjax.live.alarms`.

        Raises:
          RunError: the folder is not a run directory, or a file that describes the run is damaged.
        """
        self.path = Path(path)
        if not (self.path / "config.json").is_file():
            raise RunError(f"{path} is not a run directory (no config.json in it)")
        _, _, self.model, config, _ = read_manifest(self.path)
        self.metric = metric or self.model["dimension"]
        self.monitors = {seed: Monitor(method=method) for seed in config["seeds"]}
        self.alarms = {seed: Alarms(rules) for seed in config["seeds"] if rules}
        self._unchecked = tuple(rules)
        self._alarmed_until: dict[str, int] = {}  # signal -> last step that the alarms have seen
        names, head = self.model["layer_names"], self.model["head"]
        self._hidden = [i for i, name in enumerate(names) if name != head]
        self._gaps = config.get("recorded", False)
        self._read: set[str] = set()

    @property
    def status(self) -> str:
        """Return the current status of the run."""
        return read_json(self.path / "STATUS.json")["status"]

    def catch_up(self) -> list[str]:
        """Feed the new records to the monitors.

        Returns:
          Lines to print: jumps, warnings and alarms in order of steps, then the state of the run.

        Raises:
          RunError: a record is damaged or does not contain the metric.
        """
        news, reports = [], {}
        for path in record_steps(self.path / "records").values():
            if path.name not in self._read:
                self._read.add(path.name)
                for seed, report in self._feed(path):
                    news += _news(seed, report)
                    reports[seed] = report
        if reports and self.alarms:
            news += self._alarm()
        lines = [line for _, line in sorted(news)]
        return [*lines, _standing(reports)] if reports else lines

    def _alarm(self) -> list[tuple[int, str]]:
        """Feed the new measurements of all signals to the alarms, and return (step, line)."""
        try:
            run = open_run(self.path, partial=True)
        except DivergedError:
            return []
        every, news = signals(run, None, least=1, finite=False), []
        if self._unchecked:
            news += self._check(run, every)
        for signal in every:
            last = self._alarmed_until.get(signal.name, -1)
            new = np.flatnonzero(signal.steps > last)
            for seed, values in zip(run.seeds, signal.values, strict=True):
                for j in new:
                    found = self.alarms[seed].update(signal.steps[j], {signal.name: values[j]})
                    news += [
                        (a.step, f"ALARM step {a.step}, seed {seed}: {a.message}.") for a in found
                    ]
            self._alarmed_until[signal.name] = signal.steps[-1]
        return news

    def _check(self, run, every):
        """Leave out the alarms that cannot work in this run, and say why."""
        kept, news = [], []
        by_name = {signal.name: signal for signal in every}
        for rule in self._unchecked:
            why = _unusable(rule, by_name.get(rule.signal), capabilities(run))
            kept += [] if why else [rule]
            news += [(-1, f"no alarm by {rule.signal}: {why}")] if why else []
        self._unchecked = ()
        self.alarms = {seed: Alarms(kept) for seed in self.monitors}
        return news

    def _feed(self, path) -> Iterator[tuple[int, Report]]:
        record = read_npz(path)
        if f"probe/{self.metric}" not in record:
            raise RunError(f"{path} has no {self.metric!r}")
        at, steps = record["probe_step"], record["step"]
        layers_SxTxL = record[f"probe/{self.metric}"]
        if layers_SxTxL.shape[2:] != (len(self.model["layer_names"]),):
            raise RunError(f"{self.metric!r} is not one value per layer: name another --metric")
        d_SxT = layers_SxTxL[:, :, self._hidden].astype(float).mean(2)
        for i, (seed, monitor) in enumerate(self.monitors.items()):
            scalars = [record.get(f"scalar/{name}") for name in ("loss", "grad_norm")]
            for j, step in enumerate(at.tolist()):
                loss, norm = (
                    None if s is None else value_at(step, steps, s[i], self._gaps) for s in scalars
                )
                yield seed, monitor.update(step, loss, norm, d_SxT[i, j])


def _unusable(rule, signal, abilities) -> str:
    """Return why a rule cannot be used for a run, or nothing."""
    if rule.ability not in abilities:
        return f"the run has no ability {rule.ability!r}"
    if signal is None:
        return "the run does not record it"
    gaps = [np.median(np.diff(steps)) for steps in (rule.steps, signal.steps) if len(steps) > 1]
    if len(gaps) == 2 and gaps[0] != gaps[1]:
        return f"it was measured every {gaps[0]:.0f} steps, and is every {gaps[1]:.0f} in this run"
    return ""


def follow(watch: Watch, say: Callable[[str], None], ended: Callable[[], bool]):
    """Check for new records repeatedly until the run has ended.

    Args:
      watch: open Watch of the run.
      say: function that receives each line to print.
      ended: function that returns whether the run has ended. It is called before each check. The
        check after it returns True is the last one.
    """
    last_news = time.monotonic()
    while True:
        last = ended()
        lines = watch.catch_up()
        for line in lines:
            say(line)
        if last:
            return
        now = time.monotonic()
        if lines:
            last_news = now
        elif now - last_news > PATIENCE:
            say(f"nothing new for {PATIENCE:.0f} s; has the run stopped?")
            last_news = now
        time.sleep(POLL)


def _news(seed, report):
    """Return a pair (step, line) for each jump and each warning."""
    jumps = [
        (jump.step, f"jump of D at step {jump.step}, seed {seed}: {jump.size:+.2f}")
        for jump in report.jumps
    ]
    return jumps + [
        (
            warning.step,
            f"WARNING step {warning.step}, seed {seed}: {warning.kind}: {warning.message}. "
            f"Try: {warning.recommendation}.",
        )
        for warning in report.warnings
    ]


def _standing(reports):
    step = max(report.step for report in reports.values())
    finite = [report for report in reports.values() if np.isfinite(report.d)]
    if not finite:
        return f"step {step}: D is not finite"
    d = [report.d for report in finite]
    line = f"step {step}: D {np.mean(d):.2f}"
    if len(d) > 1:
        line += f" ({min(d):.2f} to {max(d):.2f} over {plural(len(d), 'seed')})"
    if len(finite) < len(reports):
        line += f", not finite in {len(reports) - len(finite)}"
    for horizon in finite[0].predictions:
        made = [r.predictions[horizon] for r in finite if horizon in r.predictions]
        value, low, high, skill = np.mean([(m.d, m.low, m.high, m.skill) for m in made], 0)
        line += f"; +{horizon}: {value:.2f}"
        if np.isfinite(low):
            line += f" ({low:.2f} to {high:.2f}, skill {skill:+.2f})"
    return line
