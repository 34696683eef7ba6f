"""Run the tap experiment in four phases, with one report at the end.

    tapjax tap --quick --workdir=runs/quick
    tapjax tap --grid --datasets=fashion_mnist --phase=1 --workdir=runs/grid
    tapjax tap --grid --datasets=fashion_mnist --phase=2 --workdir=runs/grid

Phase 1 trains architectures on data sets and tests whether alpha is a function of the architecture.
Phase 2 predicts D(t) before training, leaving out each architecture in turn. Phase 3 replays every
run to the live monitor. Phase 4 also trains addition modulo a prime, a capability that emerges
late, and tests whether D changes before capabilities do. Phases 2 and 3 read the runs of phase 1.

`tapjax tap RUNS`, with a run directory first, is the analysis of recorded runs;
`tapjax tap RUNS --help` lists its flags.

Runs that are done are skipped, so the same command resumes the experiment. A run that fails is
reported, and the other runs continue. The results are in WORKDIR/analysis; report.html is the
overview.
"""

import sys
import textwrap
from pathlib import Path

from absl import flags

from launch.flags import main
from launch.training import define_processes, here, train_all
from tapjax.config.schema import ConfigError, check
from tapjax.contract.architectures import ZOO
from tapjax.contract.text import plural
from tapjax.data.datasets import load_arrays
from tapjax.run.limits import check_addresses
from tapjax.sweep.jobs import is_done, make_job

QUICK_ARCHS = (
    "mlp_shallow_2",
    "mlp_medium_5",
    "mlp_deep_10",
    "mlp_wide",
    "cnn_shallow",
    "transformer_narrow",
)
EMERGENCE_ARCHS = ("mlp_shallow_2", "mlp_medium_5", "cnn_shallow", "transformer_shallow")
PHASES = {
    "1": ("tap", "alpha", "jumps"),
    "2": ("predictor",),
    "3": ("monitor",),
    "4": ("emergence",),
}
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder for the runs, and for the results in its subfolder analysis.",
    required=True,
)
PHASE = flags.DEFINE_enum("phase", "all", [*PHASES, "all"], "Phase to carry out, or all of them.")
QUICK = flags.DEFINE_bool("quick", False, "Train six architectures on digits for 650 steps.")
GRID = flags.DEFINE_bool(
    "grid", False, "Train the designed grid of configs/tap/grid.py for 1000 steps."
)
ARCHS = flags.DEFINE_list(
    "archs",
    None,
    "Architectures to train, as in mlp_wide,mlp:depth=2,width=8; all of the chosen set by default.",
)
DATASETS = flags.DEFINE_list("datasets", ["digits"], "Data sets to train on.")
PROCESSES = define_processes()
SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds per run.")
STEPS = flags.DEFINE_integer(
    "steps", None, "Steps per run; by default 2000, with --grid 1000, with --quick 650."
)


def body() -> int:
    """Train the missing runs, analyse all runs and return the exit code."""
    phases = tuple(PHASES) if PHASE.value == "all" else (PHASE.value,)
    calibration, emergence = _calibration(), _emergence() if "4" in phases else {}
    wanted = (calibration if "1" in phases else {}) | emergence
    if "1" in phases:
        for name in _names(DATASETS.value):  # an unknown name is reported before any training
            load_arrays(name)
    jobs = [make_job(name, config, _runs()) for name, config in wanted.items()]
    jobs.reverse()  # the zoo ends with its slowest networks, which should not be left for the end
    check_addresses()
    failed, preempted = train_all(jobs, here(jobs, PROCESSES.value))
    if preempted:
        return 75
    left_out, analysed = {}, False
    for phase in phases:
        cells = calibration | emergence if phase == "4" else calibration
        done = [path for path in map(_runs().joinpath, cells) if is_done(path)]
        if done:
            left_out |= _analyse(phase, done)
            analysed = True
        elif not failed:
            print(
                f"error: no run for phase {phase} is done: --phase=1 trains them", file=sys.stderr
            )
            return 2
    if analysed:
        _report(left_out)
    for name, problem in failed.items():
        print(f"failed: {name}: {problem}", file=sys.stderr)
    return 1 if failed else 0


def _calibration() -> dict:
    """Return the checked config of each cell of phase 1, an architecture and a data set."""
    from configs.tap import grid

    everything = grid.ARCHITECTURES if GRID.value else tuple(ZOO)
    return _cells(_names(ARCHS.value) or (QUICK_ARCHS if QUICK.value else everything))


def _emergence() -> dict:
    """Return the configs of phase 4: image tasks as in phase 1, and modular addition."""
    from configs.tap import grokking

    archs = _names(ARCHS.value) or (QUICK_ARCHS if QUICK.value else EMERGENCE_ARCHS)
    cells = _cells(archs)
    if QUICK.value:
        made = [grokking.get_config(f"easy,seeds={SEEDS.value},arch={grokking.TRANSFORMER}")]
    else:
        made = [grokking.get_config(f"arch={arch}") for arch in grokking.PROTOCOLS]
    return cells | {_cell(config.model.name, config.data.name): config for config in made}


def _cells(archs) -> dict:
    datasets = _names(DATASETS.value)
    if ARCHS.value == [] or not datasets:
        raise ConfigError("--archs and --datasets need a name each")
    cells = {_cell(arch, name): _config(arch, name) for name in datasets for arch in archs}
    if len(cells) < len(datasets) * len(archs):
        raise ConfigError("two of --archs or --datasets have the same name: rename a file")
    return cells


def _config(arch, name):
    from configs.tap import calibration

    steps = 650 if QUICK.value else 1000 if GRID.value else 2000
    steps = steps if STEPS.value is None else STEPS.value
    try:
        config = calibration.get_config(
            f"arch={arch},dataset={name},seeds={SEEDS.value},steps={steps}"
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    check(config)
    return config


def _names(parts) -> list[str]:
    """Join names that were split at commas: width=8 belongs to the name before it."""
    names = []
    for part in parts or ():
        if "=" in part and ":" not in part and names:
            names[-1] += f",{part}"
        else:
            names.append(part)
    return names


def _cell(arch, data) -> str:
    """Return the name of a run's folder."""
    data = Path(data).stem if data.endswith(".npz") else data
    return f"{arch}__{data}".replace(":", "-")


def _runs() -> Path:
    return Path(WORKDIR.value) / "runs"


def _analyse(phase, runs) -> dict:
    from analysis.commands.report import write_sections

    print(f"phase {phase}: analysing {plural(len(runs), 'run')}", flush=True)
    return write_sections(PHASES[phase], runs, Path(WORKDIR.value) / "analysis")


def _report(left_out):
    from analysis.commands.report import conclusions, join_sections

    folder = Path(WORKDIR.value) / "analysis"
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    page = join_sections(folder, folder / "report.html")
    for line in conclusions(folder):
        print(textwrap.fill(line, 98, subsequent_indent="  "))
    print(f"report: {page}")


if __name__ == "__main__":
    main(body)
