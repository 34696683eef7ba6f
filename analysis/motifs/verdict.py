"""What may be claimed of a map: more than maps of series without states show, made over and over.

All series share a map, so its luck is theirs together and no test over seeds can see it: every
repetition draws new surrogates and a new start.
"""

import numpy as np
from tqdm import tqdm

from analysis.motifs.controls import JUDGES
from analysis.motifs.stages import RATE
from analysis.motifs.study import Settings, mapped, of_series
from analysis.statistics.surrogates import p_value

OWN_MAPS = 5  # of what was recorded, of which the median counts
ENOUGH = 19  # repetitions: with fewer no p is as low as .05
UNTESTED = f"states untested: --repeats={ENOUGH} maps of controls"


def judge(series: list[np.ndarray], settings: Settings, controls: dict, repeats: int) -> list[dict]:
    """Separation and dwell of maps of a recording, and of as many maps of each control as asked.

    Args:
      series: channels of each, steady, [T, C].
      settings: of every map; the seed counts up.
      controls: from `controls.controls`; those of `JUDGES` are mapped.
      repeats: maps of each control.

    Returns:
      Rows of `control`, `measure` (mean over series), `recorded` (median of five maps), `low` and
      `high` (95 % of the control's maps) and `p`.
    """
    rng = np.random.default_rng(settings.seed)

    def repeated(make, count, name):
        return [
            of_series(mapped(make(), settings._replace(seed=settings.seed + i)), settings)
            for i in tqdm(range(count), desc=f"maps, {name}", disable=None)
        ]

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


def verdict(judged: list[dict], orders: list[bool | None]) -> str:
    """The claims in words.

    Args:
      judged: from `judge`; nothing if it was not asked for.
      orders: whether each run's seeds go through states in one order, None where untested.

    Returns:
      One line, on states and on their order.
    """
    states, order = UNTESTED, "order untested: 5 seeds and eight blocks of a run"
    if judged:
        # Not by dwell: a map of one basin is never left.
        beyond = all(row["p"] <= RATE for row in judged if row["measure"] == "separation")
        states = "distinct states" if beyond else "no states beyond the controls"
    if None not in orders:
        order = "in an order that seeds share" if all(orders) else "in no shared order"
    return f"{states}; {order}"
