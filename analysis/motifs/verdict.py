"""Claims about a map, judged by a comparison with repeated maps of series without states.

All series share one map. A chance feature of this map affects all of them together, and a test over
seeds cannot detect it. Every repetition therefore draws new surrogates and a new start of t-SNE.
"""

import numpy as np

from analysis.motifs.controls import JUDGES
from analysis.motifs.stages import RATE
from analysis.motifs.study import Settings, mapped, of_series
from analysis.statistics.parallel import in_processes
from analysis.statistics.surrogates import p_value

OWN_MAPS = 5  # number of maps of the recorded series; their median is used
ENOUGH = 19  # smallest number of repetitions with which p can be as low as .05
UNTESTED = f"states untested: --repeats={ENOUGH} maps of controls"


def judge(series: list[np.ndarray], settings: Settings, controls: dict, repeats: int) -> list[dict]:
    """Compare separation and dwell between maps of the recorded series and maps of controls.

    Args:
      series: channels [T, C] of each series, made steady by `channels.steady`.
      settings: settings of every map. The seed increases by 1 from map to map.
      controls: functions from `controls.controls`; those named in `JUDGES` are used.
      repeats: number of maps of each control.

    Returns:
      Rows with `control`; `measure`, a mean over series; `recorded`, the median of five maps; `low`
      and `high`, which enclose 95 % of the control's maps; and `p`.
    """
    rng = np.random.default_rng(settings.seed)

    def repeated(make, count, name):
        arguments = [(make(), settings._replace(seed=settings.seed + i)) for i in range(count)]
        return in_processes(_measured, arguments, f"maps, {name}")

    recorded, rows = repeated(lambda: series, OWN_MAPS, "recorded"), []
    for name in JUDGES:
        null = repeated(lambda name=name: [controls[name](x, rng) for x in series], repeats, name)
        for measure in ("separation", "dwell"):
            own = float(np.median([np.mean(found[measure]) for found in recorded]))
            values = [np.mean(found[measure]) for found in null]
            low, high = np.quantile(values, [0.025, 0.975])
            rows.append(
                {"control": name, "measure": measure, "recorded": own, "low": float(low),
                 "high": float(high), "p": p_value(own, values)}
            )  # fmt: skip
    return rows


def _measured(argument):
    series, settings = argument
    return of_series(mapped(series, settings), settings)


def verdict(judged: list[dict], orders: list[bool | None]) -> str:
    """Express the claims in words.

    Args:
      judged: rows from `judge`; empty if it was not called.
      orders: one value per run: whether its seeds pass through the states in the same order, None
        if untested.

    Returns:
      One line about the states and their order.
    """
    states, order = UNTESTED, "order untested: 5 seeds and eight blocks of a run"
    if judged:
        # Dwell is not used, because a map with one basin is never left.
        beyond = all(row["p"] <= RATE for row in judged if row["measure"] == "separation")
        states = "distinct states" if beyond else "no states beyond the controls"
    if None not in orders:
        order = "in an order that seeds share" if all(orders) else "in no shared order"
    return f"{states}; {order}"
