"""The tap experiment: calibrate D(t) over architectures and data sets, then analyse it.

    python -m launch.tap --quick --workdir=runs/quick
    python -m launch.tap --grid --datasets=fashion_mnist --workdir=runs/grid

Runs that are done are skipped, so the same command resumes; one that fails is reported and the
rest go on. Results stand in WORKDIR/analysis: report.html first of all, then alpha as a function
of the architecture and the prediction of D(t) before training, where there are enough of them.
"""

import sys
from pathlib import Path

from absl import flags

from analysis.architectures import ZOO
from launch.flags import main, prepare_jax

QUICK_ARCHS = (
    "mlp_shallow_2",
    "mlp_medium_5",
    "mlp_deep_10",
    "mlp_wide",
    "cnn_shallow",
    "transformer_narrow",
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs.", required=True)
QUICK = flags.DEFINE_bool("quick", False, "Six architectures on digits, 500 steps.")
GRID = flags.DEFINE_bool("grid", False, "The designed grid of configs/tap/grid.py, 1000 steps.")
ARCHS = flags.DEFINE_list(
    "archs", None, "Architectures, e.g. mlp_wide,mlp:depth=2,width=8; all by default."
)
DATASETS = flags.DEFINE_list("datasets", ["digits"], "Data sets.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds a run.")
STEPS = flags.DEFINE_integer(
    "steps", None, "Steps a run; 2000, 1000 with --grid, 500 with --quick."
)


def body() -> int:
    """Train what is missing, then analyse everything."""
    configs = _configs()
    prepare_jax()
    failed, preempted = _train(configs)
    if preempted:
        return 75
    _analyse([cell for cell in configs if cell not in failed])
    for (arch, name), problem in failed.items():
        print(f"failed: {arch} on {name}: {problem}", file=sys.stderr)
    return 1 if failed else 0


def _configs() -> dict:
    """The checked config of each (architecture, data set)."""
    from configs.tap import calibration, grid
    from tapjax.config import ConfigError, check

    everything = grid.ARCHITECTURES if GRID.value else tuple(ZOO)
    archs = _names(ARCHS.value) or (QUICK_ARCHS if QUICK.value else everything)
    steps = STEPS.value or (500 if QUICK.value else 1000 if GRID.value else 2000)
    configs = {}
    for name in DATASETS.value:
        for arch in archs:
            arg = f"arch={arch},dataset={name},seeds={SEEDS.value},steps={steps}"
            try:
                configs[arch, name] = calibration.get_config(arg)
            except ValueError as error:
                raise ConfigError(str(error)) from error
            check(configs[arch, name])
    return configs


def _names(parts) -> list[str]:
    """Architectures from a comma-separated list: a size such as width=8 belongs to its family."""
    names = []
    for part in parts or ():
        if "=" in part and ":" not in part and names:
            names[-1] += f",{part}"
        else:
            names.append(part)
    return names


def _folder(arch, name) -> Path:
    return Path(WORKDIR.value) / "runs" / f"{arch.replace(':', '-')}__{Path(name).stem}"


def _train(configs) -> tuple[dict, bool]:
    from tapjax import loop
    from tapjax.data import DataError
    from tapjax.rundir import CheckpointError, RunDirError

    failed = {}
    for i, ((arch, name), cfg) in enumerate(configs.items(), 1):
        label = f"[{i}/{len(configs)}] {arch} on {name}"
        try:
            outcome = loop.run(cfg, _folder(arch, name), progress=label)
        except (CheckpointError, DataError, RunDirError, OSError) as error:
            failed[arch, name] = str(error)
            continue
        print(f"{label}: {outcome.status} at step {outcome.step}", flush=True)
        if outcome.status == "PREEMPTED":
            return failed, True
        if outcome.status == "DIVERGED":
            failed[arch, name] = outcome.reason
    return failed, False


def _analyse(cells) -> None:
    from analysis.commands.alpha import fit_alpha
    from analysis.commands.predictor import evaluate
    from analysis.commands.tap import tap
    from analysis.io import RunError

    if not cells:
        return
    runs, out = [_folder(*cell) for cell in cells], Path(WORKDIR.value) / "analysis"
    analyses = {
        "models of D(t)": lambda: tap(runs, out, partial=False),
        "alpha = f(architecture)": lambda: fit_alpha(runs, out / "alpha"),
        "D(t) before training": lambda: evaluate(runs, out / "predictor"),
    }
    for title, analyse in analyses.items():
        print(f"\n{title}")
        try:
            print(analyse()[1].to_string(float_format=lambda v: f"{v:.3g}", na_rep="-"))
        except RunError as error:
            print(f"left out: {error}")
    print(f"\nreport: {out / 'report.html'}")


if __name__ == "__main__":
    main(body)
