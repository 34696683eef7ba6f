"""Links between the variables of a run, the power to detect such links, and forecasts."""

import numpy as np

from analysis.edm.baselines import ar_forecast, persistence
from analysis.edm.coupled_maps import coupled_maps
from analysis.edm.embedding import rows
from analysis.edm.forecast import interval, skill
from analysis.edm.links import check_attainable, choose, evidence, planted, verdicts
from analysis.edm.nulls import NULLS, phase_randomised
from analysis.edm.s_map import smaps
from analysis.edm.select import THETAS
from analysis.edm.simplex_projection import simplex

STRENGTHS = (0.5, 1.0, 2.0)  # strengths of planted links, in standard deviations
HORIZONS = (1, 2, 5, 10)  # points ahead
KNOWN, KNOWN_NOISE = 0.1, 0.003  # strength with which map x acts on map y, and their noise


def study(series: dict[str, np.ndarray], null: str = "phases", **settings) -> dict:
    """Compute the evidence for every ordered pair of variables.

    Args:
      series: prepared series by name, each [S, T] with finite values.
      null: name of a null in `nulls.NULLS`, which makes the surrogates.
      **settings: see `evidence`.

    Returns:
      Evidence by (cause, effect).
    """
    return {
        (cause, effect): evidence(series[effect], series[cause], NULLS[null], **settings)
        for effect in series
        for cause in series
        if cause != effect
    }


def known(points: int, seeds: int, tests: int, null: str = "phases", **settings) -> dict:
    """Test whether a known link of simulated maps is claimed with the same amount of data.

    The numbers of points, seeds and tests and all settings are those of the runs to be judged.

    Args:
      points: number of points of each series.
      seeds: number of seeds of the runs that are to be judged.
      tests: number of links that are tested together. The known link is one of them, and no other
        link exists.
      null: name of a null in `nulls.NULLS`.
      **settings: see `evidence`.

    Returns:
      `p_true`, `q_true` and `verdict_true` of the existing link; `p_false`, `q_false` and
      `verdict_false` of the reverse link; and `recovered`, which is true if the existing link is
      claimed and the reverse link is not.

    Raises:
      ValueError: see `links.check_attainable`.
    """
    check_attainable(tests, settings["surrogates"], seeds)
    pairs = [coupled_maps(points, 0.0, KNOWN, KNOWN_NOISE, seed) for seed in range(seeds)]
    x, y = np.swapaxes(pairs, 0, 1)
    found = study({"x": x, "y": y}, null, **settings)
    rows = {row["cause"]: row for row in verdicts(found, runs=True, tests=max(tests, 2))}
    there, reverse = rows["x"], rows["y"]
    return {
        "p_true": found["x", "y"].p(), "p_false": found["y", "x"].p(),
        "q_true": there["q"], "q_false": reverse["q"],
        "verdict_true": there["verdict"], "verdict_false": reverse["verdict"],
        "recovered": there["verdict"] == "drives" != reverse["verdict"],
    }  # fmt: skip


def power(series: dict[str, np.ndarray], tests: int, null: str = "phases", seed=0, **settings):
    """Find, for every ordered pair of variables, the weakest planted link that would be claimed.

    The effect is a phase-randomised surrogate of the variable, on which nothing acts, plus the
    cause. The verdict is that of `verdicts`, as if the planted link were the only link among all
    tests.

    Args:
      series: prepared series by name, see `study`.
      tests: number of links that are tested together.
      null: name of a null in `nulls.NULLS`.
      seed: random seed of the surrogates.
      **settings: see `evidence`.

    Returns:
      Strength by (cause, effect), in standard deviations; None if not even the strongest planted
      link is claimed.

    Raises:
      ValueError: see `links.check_attainable`.
    """
    check_attainable(tests, settings["surrogates"], len(next(iter(series.values()))))
    rng, found = np.random.default_rng(seed), {}
    for effect, values in series.items():
        quiet = np.concatenate([phase_randomised(x, 1, rng) for x in values])
        for cause in series:
            if cause != effect:
                tried = (
                    strength
                    for strength in STRENGTHS
                    if _claimed(quiet, series[cause], strength, tests, null, seed, settings)
                )
                found[cause, effect] = next(tried, None)
    return found


def _claimed(effect_SxT, cause_SxT, strength, tests, null, seed, settings):
    """Decide whether a planted link is claimed."""
    effect_SxT = planted(effect_SxT, cause_SxT, strength)
    e = evidence(effect_SxT, cause_SxT, NULLS[null], seed=seed, **settings)
    (row,) = verdicts({("cause", "effect"): e}, runs=True, tests=tests)
    return row["verdict"] == "drives"


def forecasts(series: dict[str, np.ndarray], horizons=HORIZONS) -> list[dict]:
    """Score how well each variable can be forecast from its own past.

    The first part of a series is used only to choose the embedding and theta. The models are
    fitted on the first half of the rest and scored on the second half.

    Args:
      series: prepared series by name, see `study`.
      horizons: numbers of points ahead.

    Returns:
      Rows with `variable`, `model`, `horizon`; `dimension`, a list with the dimension of each
      seed's states; and means over seeds of the scores, each over `n` points: `rho`, the bounds
      `rho_low` and `rho_high` of its interval (per seed, by block bootstrap), `rmse`, `mae` and
      `relative_rmse` (relative to persistence).
    """
    table = []
    for name, values in series.items():
        scores = [_forecasts(x, horizons) for x in values]
        for model, horizon in scores[0]:
            own = [score[model, horizon] for score in scores]
            mean = {key: np.mean([score[key] for score in own]) for key in own[0]}
            mean |= {"dimension": [score["dimension"] for score in own], "n": own[0]["n"]}
            table.append({"variable": name, "model": model, "horizon": horizon} | mean)
    return table


def _forecasts(x_T, horizons):
    """Return the scores of one series by (model, horizon)."""
    embedding, used = choose(x_T)
    settings = {"dimension": embedding.dimension, "tau": embedding.tau}
    start, middle, stop = 0, used[0] // 2, used[0]
    thetas = [t for t in THETAS if t]
    fitted = smaps(
        x_T, x_T, rows([(start, middle)], **settings, horizon=1),
        rows([(middle, stop)], **settings, horizon=1), thetas=thetas, **settings,
    )  # fmt: skip
    theta = thetas[int(np.nanargmax([skill(f.observed, f.predicted)["rho"] for f in fitted]))]
    middle, found = (used[0] + len(x_T)) // 2, {}
    for horizon in horizons:
        library = rows([(used[0], middle)], **settings, horizon=horizon)
        ahead = rows([(middle, len(x_T))], **settings, horizon=horizon)
        linear, curved = smaps(
            x_T, x_T, library, ahead, thetas=[0, theta], horizon=horizon, **settings
        )
        made = {
            "persistence": persistence(x_T, ahead, horizon),
            "AR": ar_forecast(x_T, np.arange(used[0], middle), ahead, horizon),
            "S-map, linear": linear,
            "S-map": curved,
            "simplex": simplex(x_T, x_T, library, ahead, horizon=horizon, **settings),
        }
        scores = {model: skill(f.observed, f.predicted) for model, f in made.items()}
        base = scores["persistence"]["rmse"]
        for model, f in made.items():
            low, high = interval(f.observed, f.predicted, max(embedding.theiler, horizon))
            found[model, horizon] = scores[model] | {
                "rho_low": low, "rho_high": high, "dimension": embedding.dimension,
                "relative_rmse": scores[model]["rmse"] / base if base > 0 else np.nan,
            }  # fmt: skip
    return found
