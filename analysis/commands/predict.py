"""Forecast D(t) of a network that was never trained, from its architecture and data set."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.commands.figure_flags import add_figure_flags
from analysis.commands.output import add_out, plain, write_results
from analysis.figures.prediction import forecast as draw_forecast
from analysis.tap import held_out, predict
from tapjax.contract.architectures import parse_architecture, structure
from tapjax.contract.files import RunError, read_json


def add_arguments(parser) -> None:
    """Add the flags of this command to its parser."""
    parser.add_argument("--arch", required=True, help="architecture, such as mlp:depth=6,width=96")
    parser.add_argument(
        "--dataset", required=True, help="name of a data set that the calibration contains"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        default=Path("out/predictor/predictor.json"),
        help="path of predictor.json, which the command `predictor` writes",
    )
    parser.add_argument(
        "--predictor", choices=predict.PREDICTORS, default="gp", help="kind of predictor"
    )
    parser.add_argument("--d0", type=float, help="D at initialisation, if it was measured")
    add_out(parser, "predict")
    add_figure_flags(parser)


def run(args):
    """Run the command with its parsed flags."""
    return forecast(args.calibration, args.arch, args.dataset, args.predictor, args.d0, args.out)


def forecast(calibration: Path, arch: str, dataset: str, predictor: str, d0, out: Path):
    """Predict D(t) of one architecture on one data set.

    Args:
      calibration: path of predictor.json, the file that `predictor` writes.
      arch: name of the architecture, such as `mlp:depth=6,width=96`.
      dataset: name of the data set.
      predictor: kind of predictor, one of `predict.PREDICTORS`.
      d0: D at initialisation, above 0; None if it was not measured.
      out: folder for forecast.json, forecast.csv and forecast.png.

    Returns:
      (JSON result, table to print: D and its 90 % band at some of the steps).

    Raises:
      RunError: the calibration cannot be read, the architecture or the data set is unknown, or d0
        is not above 0.
    """
    stored = _calibration(calibration)
    try:
        architecture = parse_architecture(arch)
    except ValueError as error:
        raise RunError(str(error)) from error
    if dataset not in stored["shapes"]:
        known = ", ".join(stored["shapes"])
        raise RunError(f"--dataset={dataset} is not in the calibration: choose one of {known}")
    if d0 is not None and not d0 > 0:
        raise RunError(f"--d0={d0} must be above 0")
    examples = stored["examples"]
    shape, classes = stored["shapes"][dataset]
    sizes = structure(architecture, tuple(shape), classes)
    log_d0 = None if d0 is None else float(np.log(d0))
    made = predict.fit(examples, predictor, d0 is not None)(sizes, dataset, log_d0)
    inside = held_out.bracketed(sizes, [e.structure for e in examples])
    width = predict.Z_90 * made.sd_G
    table = pd.DataFrame(
        {
            "D": np.exp(made.log_d_G),
            "low": np.exp(made.log_d_G - width),
            "high": np.exp(made.log_d_G + width),
        },
        index=pd.Index(examples[0].step_G, name="step"),
    )
    result = {
        "command": "predict",
        "architecture": arch,
        "data": dataset,
        "metric": stored["metric"],
        "predictor": predictor,
        "structure": sizes,
        "d0": d0,
        "extrapolating": not inside,
        "forecast": plain(table.reset_index().to_dict("list")),
    }
    write_results(out, "forecast", result, table)
    title = f"{arch} on {dataset}, before training"
    draw_forecast(table, title, stored["metric"], not inside, out / "forecast")
    return result, table.iloc[:: max(len(table) // 12, 1)]


def _calibration(path: Path) -> dict:
    """Read the file that `predictor` wrote, and restore its examples."""
    problem = f"{path} is not a calibration: make one with the command `predictor`"
    if not path.is_file():
        raise RunError(problem)
    stored = read_json(path, {"shapes": dict, "metric": str, "examples": list})
    try:
        examples = predict.from_table(stored["examples"])
        shapes = {
            name: (tuple(map(int, shape)), int(n)) for name, (shape, n) in stored["shapes"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{problem} ({error})") from error
    if not examples or any(len(shape) != 3 for shape, _ in shapes.values()):
        raise RunError(problem)
    return stored | {"examples": examples, "shapes": shapes}
