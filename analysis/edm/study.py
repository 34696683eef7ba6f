"""Links between the variables of a run, the power to see them, and forecasts."""

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

STRENGTHS = (0.5, 1.0, 2.0)  # of planted links, in standard deviations
HORIZONS = (1, 2, 5, 10)
KNOWN, KNOWN_NOISE = 0.1, 0.003  # how strongly the first of two maps acts on the second; its noise


def study(series: dict[str, np.ndarray], null: str = "phases", **settings) -> dict:
    """Evidence for every ordered pair of variables.

    Args:
      series: prepared, by name, each [S, T] with finite values.
      null: name of a null.
      settings: see `evidence`.

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
    """Is a known link claimed, with as many points and seeds, settings and tests?

    Args:
      points: of each series.
      seeds: of the runs that are to be judged.
      tests: links that are tested together; of them only the known link is one.
      null: name of a null.
      settings: see `evidence`.

    Returns:
      `p_true`, `q_true` and `verdict_true` of the link that there is, `p_false`, `q_false` and
      `verdict_false` of the reverse one, `recovered`: whether the first is claimed and the second
      is not.

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
    """The weakest planted link that would be claimed, for every ordered pair.

    The effect is a surrogate of the variable, which nothing acts on, with the cause added. The
    verdict is that of `verdicts`, as if the planted link were the only one among all tests.

    Args:
      series: see `study`.
      tests: links that are tested together.
      null: name of a null.
      seed: of the surrogates.
      settings: see `evidence`.

    Returns:
      Strength by (cause, effect), in standard deviations; None if not even the strongest is found.

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
    """Whether a planted link is claimed."""
    effect_SxT = planted(effect_SxT, cause_SxT, strength)
    e = evidence(effect_SxT, cause_SxT, NULLS[null], seed=seed, **settings)
    (row,) = verdicts({("cause", "effect"): e}, runs=True, tests=tests)
    return row["verdict"] == "drives"


def forecasts(series: dict[str, np.ndarray], horizons=HORIZONS) -> list[dict]:
    """How far each variable can be forecast from itself, on the later half of what is left.

    Args:
      series: see `study`.
      horizons: points ahead.

    Returns:
      Rows with `variable`, `model`, `horizon`, `dimension` of each seed's states, `rho`, its
      interval `rho_low` to `rho_high` (a seed's, by block bootstrap), `rmse`, `mae` and
      `relative_rmse` (to persistence), means over seeds of `n` points each. Embedding and theta are
      chosen on the part that nothing else uses.
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
    """Scores by (model, horizon) of one series."""
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
