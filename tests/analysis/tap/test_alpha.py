import numpy as np
import pandas as pd
import pytest

from analysis.tap import alpha
from tapjax.contract.architectures import parse_architecture, structure


def fits(rule, seeds=3, noise=0.05, datasets=("one", "two")):
    """Curves of 16 MLPs and 6 CNNs whose ln alpha follows a rule of (depth, width)."""
    rng = np.random.default_rng(0)
    names = [f"mlp:depth={d},width={w}" for d in (1, 2, 4, 8) for w in (16, 32, 64, 128)]
    names += [f"cnn:channels={c}" for c in ("8", "16", "8-16", "16-32", "8-16-32", "16-32-64")]
    rows = []
    for name in names:
        sizes = structure(parse_architecture(name), (28, 28, 1), 10)
        for data in datasets:
            for seed in range(seeds):
                value = rule(sizes, data, rng) + noise * rng.standard_normal()
                row = {"architecture": name, "data": data, "seed": seed, "identified": True}
                rows.append(sizes | row | {"alpha": np.exp(value)})
    return pd.DataFrame(rows)


def scores(table):
    return {row["form"]: row for row in alpha.regress(alpha.by_architecture(table))}


def test_a_planted_power_law_is_found_and_held_out():
    table = fits(lambda s, data, rng: -6 - 0.5 * np.log(s["depth"]) + 0.3 * np.log(s["width"]))
    found = scores(table)["power_law"]
    assert found["n"] == 22 and found["r2_loao"] > 0.95
    assert found["coefficients"]["depth"] == pytest.approx(-0.5, abs=0.05)
    assert found["coefficients"]["width"] == pytest.approx(0.3, abs=0.05)


def test_family_terms_are_found():
    table = fits(lambda s, data, rng: -6 + 2.0 * (s["family"] == "mlp") - 0.5 * np.log(s["depth"]))
    assert scores(table)["power_law_by_family"]["r2_loao"] > 0.95


def test_noise_has_no_held_out_score():
    drawn = {}
    table = fits(lambda s, data, rng: drawn.setdefault(s["num_params"], rng.normal(-6, 1)))
    for row in scores(table).values():
        assert row["r2_in_sample"] > row["r2_loao"] and row["r2_loao"] < 0.2


def test_unidentified_curves_do_not_count():
    table = fits(lambda s, data, rng: -6.0)
    table.loc[table["architecture"] == "mlp:depth=1,width=16", "identified"] = False
    table.loc[table.index[-1], "alpha"] = 1e30
    table.loc[table.index[-1], "identified"] = False
    by = alpha.by_architecture(table)
    assert "mlp:depth=1,width=16" not in by.index
    assert by["ln_alpha"].to_numpy() == pytest.approx(-6, abs=0.2)


@pytest.mark.parametrize("source", ["architecture", "data", "seed"])
def test_variance_is_attributed_to_its_source(source):
    def rule(sizes, data, rng):
        of = {
            "architecture": np.log(sizes["width"]),
            "data": float(data == "one"),
            "seed": rng.normal(),
        }
        return -6 + of[source]

    shares = alpha.variance_shares(fits(rule, seeds=8, noise=0.01))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[source] > 0.7
    assert alpha.variance_shares(fits(rule, seeds=1, datasets=("one",))) is None
