"""Every figure of the analyses, drawn from planted data with long names and many curves."""

import json

import numpy as np
import pandas as pd

from analysis import open_run
from analysis.edm.links import Evidence
from analysis.figures import (
    alpha,
    course,
    credit,
    curves,
    edm,
    emergence,
    mechanistic,
    motifs,
    overview,
    plasticity,
    prediction,
    spectra,
)
from analysis.mechanistic.changes import AnalysisResult
from analysis.mechanistic.convergence import settling_order
from analysis.motifs import regions
from analysis.motifs.maps import Map
from analysis.motifs.power_spectra import Movement
from analysis.motifs.study import Mapped
from analysis.statistics import lags
from analysis.tap.emergence import Coupling
from analysis.tap.predict import Example, Forecast
from tapjax.config import schema
from tapjax.contract.layout import write_json, write_npz
from tapjax.live.monitor import Monitor
from tests.analysis.made_runs import write_run

T = np.arange(0, 1001, 5)
LAYERS = [*(f"blocks.{i}.attention.output" for i in range(11)), "head"]
LONG = "transformer_narrow_with_a_long_name on fashion_mnist (cost $5, $6), first 20 of 64 layers"
RNG = np.random.default_rng(0)
NAMES = ("loss", "gradient_norm", "D", "learning_rate", "accuracy")
MODELS = ("tap", "tap_compression", "two_phase_saturating", "logistic")


def planted_run(path, family: str = "", seeds: int = 3, **more):
    """Write a run of eleven layers, with measures [S, T, layers], and open it."""
    jump = 5 + 3 * (T > 500) + 0.05 * RNG.standard_normal((seeds, len(T)))
    d_SxTxL = jump[:, :, None] + RNG.random(len(LAYERS))
    probe = {"probe/participation_ratio": d_SxTxL}
    probe |= {
        f"probe/{name}": RNG.random((seeds, len(T), len(LAYERS))) for name in more["measures"]
    }
    scalar = {f"scalar/{name}": RNG.random((seeds, T[-1])) for name in more.get("scalars", ())}
    known = {f"probe/{n}": RNG.random((seeds, len(T))) for n in ("accuracy", "confidence", "ece")}
    write_run(path, jump, chunk=int(T[-1]), layers=LAYERS, **probe, **scalar, **known)
    if family:
        config = schema.defaults(family)
        config.update(seeds=tuple(range(seeds)), steps=int(T[-1]))
        write_json(path / "config.json", json.loads(config.to_json()))
    return open_run(path)


def plasticity_run(path):
    """Write a run of ten tasks with the measures of units and of clones."""
    measures = (*plasticity.PANELS, "cloning_loss", "hard_rank", "x1_hard_rank")
    measures = [name for name in measures if name != "dimension"]
    planted_run(path, "plasticity", measures=measures, scalars=("accuracy", "x1_loss"))
    (record,) = (path / "records").iterdir()
    matrix = {"eval_step": np.arange(100, 1001, 100), "eval/task_accuracy": RNG.random((3, 10, 10))}
    write_npz(record, dict(np.load(record)) | matrix)
    run = open_run(path)
    run.config["tasks"]["steps"] = 100
    run.config["clone"].update(step=300, times=2)
    return run


def planted_map():
    """Return a map of two series with thirty states."""
    place = [RNG.uniform(-50, 50, (2000, 2)) for _ in range(2)]
    found = regions.watershed(np.concatenate(place), 4.0, 55.0)
    index = [np.arange(2000)] * 2
    return Mapped(
        Map(*[None] * len(Map._fields)), found, index, index, place, [np.ones(2000, bool)] * 2,
        [found.of(p) for p in place], [RNG.random(2000) for _ in place],
    )  # fmt: skip


def movements():
    """Return five groups of columns with one movement and one random walk for each of two seeds."""

    def one():
        return Movement(RNG.standard_normal((600, 6)), np.full(6, 1 / 6), RNG.random(60) + 0.1, 0.5)

    return {f"weights of {name}": ([one(), one()], [one(), one()]) for name in NAMES}


def coupling(name):
    """Return a coupling of D with a capability, with the average around large changes."""
    r_K = RNG.uniform(-0.3, 0.3, len(lags.LAGS))
    test = lags.LagTest(r_K, {}, {}, 0.5, 0, (0, 0), 0.25)
    x = np.zeros(len(lags.LAGS))
    return Coupling(name, test, {"events": 9, "mean": x, "low": x - 1, "high": x + 1, "p": 0.2})


def fits():
    """Return one fitted curve per architecture, data set, model and seed."""
    rows = [
        {"architecture": f"transformer_variant_{i}", "data": data, "model": model, "r2": 0.1 * i,
         "r2_log": 0.5, "alpha": 0.01 * (i + 1), "identified": True, "family": f"family_{i % 3}"}
        for i in range(9) for data in ("fashion_mnist", "digits", "addition") for model in MODELS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def two_fits():
    """Return the fits of two networks, each on its own data set with a long name."""
    few = fits().query("architecture < 'transformer_variant_2' and data != 'digits'")
    names = ("tokens_of_an_electronic_health_record", "my_own_measurements_2026.npz")
    return few.assign(data=few["data"].map(dict(zip(few["data"].unique(), names, strict=True))))


def many(run):
    """Return the curves of thirty runs with long names, in which the config changed something."""
    one = course.read(run)
    planted = [(20, "unit 3 of blocks.3.attention.output was drawn anew"),
               (500, "every unit was cloned x2"), (980, "every unit was cloned x2")]  # fmt: skip
    events = sorted(one.events + planted)
    return [one._replace(name=f"${i} of $30 {LONG[:40]}", events=events) for i in range(30)]


def held_out():
    """Return examples, rows and forecasts of nine networks."""
    grid = np.unique(np.geomspace(1, 1000, 30).astype(int))
    d_SxG = np.log(5 + RNG.random((3, len(grid))))
    names = [f"transformer_variant_{i}" for i in range(9)]
    examples = [
        Example(n, "fashion_mnist", {}, grid, d_SxG, *[None] * (len(Example._fields) - 5))
        for n in names
    ]
    rows = [
        {"architecture": n, "data": "fashion_mnist", "r2": 0.5, "bracketed": i % 2 == 0,
         "family": f"family_{i % 3}", "use_init": use, "predictor": p, "seed_r2": 0.95}
        for i, n in enumerate(names) for use in (True, False)
        for p in ("mean", "nearest", "ridge", "tap")
    ]  # fmt: skip
    forecasts = [Forecast(d_SxG[0], np.full(len(grid), 0.1)) for _ in rows]
    return examples, rows, forecasts


def monitored():
    """Return the state of a monitor that saw a jump."""
    monitor = Monitor()
    for t in T:
        monitor.update(int(t), 1 / (1 + t), 1.0, 5 + 3 * (t > 500) + 0.05 * RNG.standard_normal())
    return monitor.state()


def results():
    """Return the comparisons at six critical steps."""
    changes = [
        {"layer": layer, "z": 3.0 + i, "p": 0.01 if i < 3 else 0.5, "unit": 17 if i == 0 else None}
        for i, layer in enumerate(LAYERS)
    ]
    steps = [(100 * i, 100 * i + 50, 100 * i + 90) for i in range(6)]
    return [
        AnalysisResult("run", "jump", {"changes": changes, "number": i + 1, "steps": s}, {})
        for i, s in enumerate(steps)
    ]


def evidence():
    """Return the evidence of each ordered pair of five variables."""
    sizes = np.array([0.1, 0.2, 0.4, 0.8])
    return {
        (a, b): Evidence(sizes, sizes, RNG.random((40, 2)), sizes / 2, np.arange(-3, 4),
                         RNG.random(7), 0.1, 0.1, 3)
        for a in NAMES for b in NAMES if a != b
    }  # fmt: skip


def draw(folder):
    """Return name -> function that draws one figure to a path, for all figures.

    Args:
      folder: folder for runs.
    """
    tap = planted_run(folder / "tap", measures=())
    quality = ("gamma", "dir_gamma", "rho", "nudge", "param_cosine", "hidden_rms", "fitted")
    credits_ = planted_run(folder / "credit", "credit", measures=quality)
    tasks = plasticity_run(folder / "plasticity")
    method = "mitigation=continual_backprop, weight_decay=0.0001, perturb=1e-05"
    links = [
        {"cause": a, "effect": b, "rho": 0.7, "q": 0.04, "verdict": "synchrony or reverse"}
        for a in NAMES for b in NAMES if a != b
    ]  # fmt: skip
    ahead = [
        {"variable": v, "model": m, "horizon": h, "relative_rmse": 0.5 + 0.1 * h}
        for v in NAMES for m in ("simplex", "smap", "autoregression", "persistence")
        for h in (1, 2, 5, 10)
    ]  # fmt: skip
    signs = [
        {"quantity": name, "rho": 0.3, "rho_low": 0.1, "rho_high": 0.6, "given_score": 0.1,
         "given_score_low": -0.3, "given_score_high": 0.4, "runs": 20}
        for name in plasticity.TEXT
    ]  # fmt: skip
    verdicts = pd.DataFrame(
        [{"verdict": v, "best_lag_steps": 5 * i, "r": 0.3, "null_95": 0.2}
         for i, v in enumerate(emergence.VERDICTS)]
    )  # fmt: skip
    powers = {f"run {i}": {0.1: 0.2, 0.4: 0.5 + 0.1 * i} for i in range(3)}
    examples, rows, forecasts = held_out()
    nulls = [
        {"predictor": p, "use_init": u, "skill_shuffled": 0.1, "skill_shuffled_95": 0.3,
         "skill_folds": 0.4, "skill_p": 0.05}
        for p in ("mean", "nearest", "ridge", "tap") for u in (True, False)
    ]  # fmt: skip
    forecast = pd.DataFrame({"D": [5.0, 6], "low": [4.0, 5], "high": [6.0, 7]}, index=[0, 1000])
    layers = LAYERS[:-1]
    settled = np.sort(RNG.integers(0, 1000, (3, len(layers))), 1)
    kernels = [RNG.standard_normal((3, 3, 3, 32)) for _ in range(2)]
    units = [RNG.standard_normal((10, 200)) for _ in range(2)]
    attention = [RNG.random((4, 8, 12, 12)) for _ in range(3)]
    entropy = {name: RNG.random((20, 8)) for name in layers[:5]}
    found, steps = planted_map(), [np.arange(2000) * 5] * 2
    series = [f"{LONG[:40]}, seed {i}" for i in range(2)]
    share_K = RNG.dirichlet(np.ones(found.regions.count))
    moves = RNG.dirichlet(np.full(len(share_K), 0.1), len(share_K))
    summary = {"by_state": [{"share": s} for s in share_K], "transitions": moves}
    kinds = ("recorded", "phases shuffled", "random walk", "other seeds")
    counts = {kind: {20: 40, 40: 20, 80: 5} for kind in kinds}
    table = fits().assign(depth=3, width=[16, 32, 64] * 36, num_params=[1e3, 1e4, 1e5] * 36)
    amplitude = RNG.random((500, 4, 20))
    seen = [{"capability_step": 300, "D_peak_step": 700}]
    return {
        "alpha_relationships": lambda p: alpha.alpha_relationships(fits(), table, p),
        "alpha_consistency": lambda p: alpha.alpha_consistency(fits(), p),
        "credit": lambda p: credit.overview([credits_] * 6, LONG, p),
        "dimension": lambda p: curves.dimension_curves(
            tap, {(0, m): np.full(len(T), 6.0) for m in curves.MODEL_COLOURS}, p
        ),
        "scores": lambda p: curves.score_heat_map(fits(), "r2", p),
        "scores_of_two": lambda p: curves.score_heat_map(two_fits(), "r2", p),
        "edm_matrix": lambda p: edm.matrix(links, LONG, p),
        "edm_convergence": lambda p: edm.convergence(evidence(), LONG, p),
        "edm_forecasts": lambda p: edm.forecast_skill(ahead, LONG, p),
        "emergence": lambda p: emergence.emergence(
            tap, [coupling(n) for n in emergence.COLOURS], seen, 5, p
        ),
        "verdicts": lambda p: emergence.verdicts(verdicts, powers, p),
        "attention": lambda p: mechanistic.attention_pattern(attention, LONG, p),
        "filters": lambda p: mechanistic.filter_viz(*kernels, LONG, p),
        "units": lambda p: mechanistic.activation_heatmap(*units, LONG, p),
        "entropy": lambda p: mechanistic.entropy_evolution(
            np.arange(20), entropy, 1.2, [5, 9], LONG, p
        ),
        "changes": lambda p: mechanistic.change_map(LAYERS, results(), LONG, p),
        "settling": lambda p: mechanistic.settling(
            settled, layers, settling_order(settled, RNG), LONG, p
        ),
        "motifs_learning": lambda p: motifs.learning([tap] * 2, LONG, p),
        "scalogram": lambda p: motifs.scalogram(
            np.arange(500) * 5, amplitude, np.geomspace(0.01, 0.5, 20), 20, LONG, p
        ),
        "map": lambda p: motifs.overview(found, steps, series, LONG, p),
        "controls": lambda p: motifs.controls(dict.fromkeys(kinds, found), counts, LONG, p),
        "ethogram": lambda p: motifs.ethogram(found, steps, series, LONG, p),
        "graph": lambda p: motifs.graph(found, summary, LONG, p),
        "overview": lambda p: overview.overview([course.read(tap)] * 7, p),
        "overview_of_many": lambda p: overview.overview(many(tap), p),
        "learning": lambda p: plasticity.learning([tasks] * 4, [method] * 4, LONG, p),
        "memory": lambda p: plasticity.memory(tasks, method, p),
        "cloning": lambda p: plasticity.cloning([tasks] * 2, [method] * 2, LONG, p),
        "early_signs": lambda p: plasticity.early_signs(signs, LONG, p),
        "predictor": lambda p: prediction.prediction_scores(pd.DataFrame(rows), p),
        "skill": lambda p: prediction.skill_beside_shuffled(nulls, p),
        "held_out": lambda p: prediction.held_out_curves(examples, rows[::8], forecasts[::8], p),
        "forecast": lambda p: prediction.forecast(forecast, LONG, "participation_ratio", True, p),
        "monitored": lambda p: prediction.monitored(monitored(), LONG, p),
        "power": lambda p: spectra.power(
            movements(), np.linspace(0, 0.5, 60), 0.1, 5, LONG, p
        ),
        "components": lambda p: spectra.components(movements(), np.arange(600), LONG, p),
        "shares": lambda p: spectra.shares(movements(), LONG, p),
    }  # fmt: skip
