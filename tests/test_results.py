"""The numbers of a results page are those of the csv files beside it."""

import csv
import re
import runpy
from pathlib import Path
from typing import NamedTuple

import pytest

from launch import bench_validity

RESULTS = Path(__file__).parent.parent / "docs" / "results"
NUMBER = re.compile(r"-?\d*\.?\d+")
CREDIT = {
    "Gamma": "gamma", "rho": "rho", "parameter cosine": "param_cosine", "train CE": "train_loss",
    "test accuracy": "accuracy", "less dir": "over_dir", "less dfa": "over_dfa",
}  # fmt: skip
METHODS = {
    "direct feedback": "method=dfa", "copied gradient": "method=dir",
    "vector_response": "method=vector_response",
    "the same, targets shuffled": "method=response_shuffled",
}  # fmt: skip
BACKPROP = {"backprop": "method=bp"}
UNITS = {"dead": "dead_fraction_late", "effective rank": "eff_rank_late"}
MAP = {"states, and those that hold 90 %": "states,hold_90", "separation": "separation"}
MAP |= {"dwell, steps": "dwell", "fidelity": "fidelity", "contiguity (p)": "contiguity"}
CONTROLS = {"random phases": "random phases", "random walk": "random walk"}


class Table(NamedTuple):
    """A table of a page: the words its head begins with, and where its numbers are.

    `rows`: first cell -> value of the csv column `key`; `columns`: head -> csv columns, one for
    each number, an interval from `..._half`. `scale`: of the csv, in the page's units.
    """

    page: str
    head: str
    csv: str
    key: str
    rows: dict
    columns: dict


TABLES = [
    Table("credit", "50,000 images", "push_50k/credit.csv", "run",
          BACKPROP | METHODS | {"state bridge, run later (below)": "method=state_bridge"}, CREDIT),
    Table("credit", "| | Gamma | rho | parameter cosine | train CE | test accuracy | less dir",
          "push_20k/credit.csv", "run",
          BACKPROP | METHODS | {"state bridge, run later": "method=state_bridge",
          "VEC-B, run later": "method=vector_bilinear", "plain field, run later": "method=vector",
          "scalar bridge, run later": "method=scalar_bridge"}, CREDIT),
    Table("credit", "| Gamma | rho | train CE | test accuracy | best epoch", "fashion/credit.csv",
          "run", BACKPROP | METHODS | {"state bridge": "method=state_bridge",
          "scalar bridge": "method=scalar_bridge"}, CREDIT),
    Table("credit", "| notes: Gamma, rho | Gamma | rho | parameter cosine", "pilot.csv", "run",
          {"direct feedback": "method=dfa", "copied gradient": "method=dir",
           "vector field, plain, M = 4": "method=vector",
           "without terminal gradient": "method=vector_no_terminal",
           "one-sided differences": "method=vector_onesided",
           "targets shuffled": "method=vector_shuffled",
           "vector_response": "method=vector_response"}, CREDIT),
    Table("credit", "| notes: Gamma, accuracy | Gamma | rho | accuracy", "boundary.csv", "run",
          {"code e_T": "code=error", "delta_L": "code=delta", "e_T + h_L": "code=error+h",
           "delta_L + h_L": "code=delta+h", "terminal weight 0": "terminal=0",
           ".25": "terminal=0.25", "4": "terminal=4", "warm-up 0": "warmup=0",
           ".05": "warmup=0.05", ".5": "warmup=0.5"},
          {"Gamma": "gamma", "rho": "rho", "accuracy": "accuracy", "Gamma(dir)": "dir_gamma"}),
    Table("credit", "| notes: Gamma, rho | Gamma | rho | Gamma of h_0", "frozen.csv", "run",
          {"direct feedback": "method=dfa", "copied gradient": "method=dir",
           "scalar bridge": "method=scalar_bridge", "state bridge": "method=state_bridge",
           "vector field, plain, M = 4": "method=vector",
           "vector_response": "method=vector_response"}, {"Gamma": "gamma", "rho": "rho"}),
    Table("plasticity", "learner |", "bits/rates.csv", "run",
          {f"{name}, {rate[1:]}" if rate != "0.01" else f"{name}, rate .01":
           f"activation={name.lower()},lr={rate}"
           for name in ("ReLU", "tanh") for rate in ("0.01", "0.003", "0.001")},
          {}),
    Table("plasticity", "| early (tasks 11 to 20) | late", "bits/mitigations.csv", "run",
          {"plain": "activation=relu,lr=0.01", "continual backprop, rate 1e-4": "mitigation=cbp",
           "the same without the correction of the mean (fault of published code)":
           "mitigation=cbp_no_correction",
           "the same that keeps the incoming weights (fault of other published code)":
           "mitigation=cbp_same_weights", "ReDo": "mitigation=redo",
           "shrink and perturb": "mitigation=shrink_perturb",
           "LayerNorm": "mitigation=layer_norm"},
          {"early (tasks 11 to 20)": "early", "late (last 10 of 100)": "late",
           "less plain": "over_plain", "dead, late": "dead_fraction_late",
           "effective rank, late (of 5)": "eff_rank_late"}),
    Table("plasticity", "| first task | best task | last 10", "online/mnist.csv", "run",
          {"plain": "mitigation=none", "L2, 1e-4": "mitigation=l2",
           "LayerNorm": "mitigation=layer_norm",
           "continual backprop, rate 1e-4": "mitigation=cbp"},
          {"last 10 of 100": "late", "less plain": "over_plain",
           "dead, late": "dead_fraction_late", "effective rank, late": "eff_rank_late"}),
    Table("plasticity", "| late accuracy (last 5 tasks)", "permuted/fashion_mnist.csv", "run",
          {"plain": "mitigation=none", "BatchNorm": "mitigation=batch_norm",
           "LayerNorm": "mitigation=layer_norm", "CReLU": "mitigation=crelu",
           "continual backprop": "mitigation=cbp", "ReDo": "mitigation=redo",
           "L2 towards the start": "mitigation=l2_init", "L2": "mitigation=l2",
           "shrink and perturb": "mitigation=shrink_perturb",
           "anew at every task": "mitigation=reset"},
          {"late accuracy (last 5 tasks)": "late", "less plain": "over_plain",
           "dead: published, ours": "-,dead_fraction_late",
           "effective rank: published, ours": "-,eff_rank_late"}),
    Table("plasticity", "| cloning loss at the end | independent units of 192 (base: 96)",
          "cloning/sgd.csv", "run",
          {"with BatchNorm": "mitigation=batch_norm", "with LayerNorm": "mitigation=layer_norm",
           "a single noisy step": "mitigation=noisy_step",
           "noise that fades": "mitigation=noise_fading", "dropout .1": "mitigation=dropout",
           "continual backprop": "mitigation=cbp"},
          {"training loss: clone, base": "loss_late,x1_loss_late"}),
    Table("motifs", "series | claimed", "nulls.csv", "series",
          {"autoregressions, .9": "autoregression, .9",
           "autoregressions, .99": "autoregression, .99", "random walks": "random walk",
           "increments of random walks": "random walk, increments",
           "loss of one seed and D of another, increments":
           "loss and D of different seeds, increments"},
          {"claimed: level and rise": "claimed", "level alone": "level_alone"}),
    Table("motifs", "| states, and those that hold 90 %", "map_weights/maps.csv", "map",
          {"weights": "recorded", **CONTROLS}, MAP),
    Table("motifs", "| states, and those that hold 90 %", "map_scalars/maps.csv", "map",
          {"norms and losses": "recorded"}, MAP),
]  # fmt: skip


def cells(line):
    return [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]


def page_rows(table):
    """(column head, row label, cell) of a table of a page."""
    lines = (RESULTS / table.page / "README.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|") and table.head in line)
    head, seen = cells(lines[start]), set()
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        label, *values = cells(line)
        if label in table.rows and label not in seen:
            seen.add(label)
            yield from ((name, label, v) for name, v in zip(head[1:], values, strict=True))


def csv_row(table, label):
    with (RESULTS / table.page / table.csv).open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r[table.key] == table.rows[label]]
    assert len(rows) == 1, (table.csv, label)
    return rows[0]


def agrees(text, value):
    """Whether a number as written is the csv's, rounded to its last digit."""
    decimals = len(text.partition(".")[2])
    return abs(float(text) - float(value)) <= 0.5 * 10**-decimals * 1.02 + 1e-9


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.csv)
def test_a_results_table_agrees_with_its_csv(table):
    checked, wrong = 0, []
    for head, label, cell in page_rows(table):
        names = table.columns.get(head)
        if not names or not NUMBER.search(cell):
            continue
        row = csv_row(table, label)
        parts = cell.split(",") if "," in names else [cell]
        for name, part in zip(names.split(","), parts, strict=True):
            numbers = NUMBER.findall(part.split("(")[0])
            for column, number in zip((name, f"{name}_half"), numbers, strict=False):
                if row.get(column, "") in ("", None):  # by definition, and said on the page
                    continue
                checked += 1
                if not agrees(number, row[column]):
                    wrong.append((label, column, number, row[column]))
    assert not wrong, wrong
    assert checked or not table.columns


def test_no_csv_calls_the_copied_gradient_that_of_backprop():
    for path in RESULTS.glob("credit/**/*.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row.get("method") == "bp" and row.get("gamma"):
                    assert float(row["gamma"]) == pytest.approx(1, abs=1e-3), path


def test_no_csv_holds_the_p_of_a_t_test():
    old = re.compile(r"(over_(dir|dfa|plain)|slope|cosine|first_3)_p")
    for path in RESULTS.glob("**/*.csv"):
        with path.open(newline="") as file:
            assert not any(old.fullmatch(name) for name in next(csv.reader(file))), path


def test_the_validity_table_is_that_of_its_csv_files():
    folder = RESULTS / "validity"
    made = runpy.run_path(str(folder / "table.py"))["markdown"]()
    assert (folder / "table.md").read_text() == made
    areas = {path.stem for path in folder.glob("*.csv")}
    assert areas == set(bench_validity.AREAS)
    for area in areas:
        with (folder / f"{area}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                rate, most = float(row["rate"]), row["goal"].startswith("<=")
                goal = float(row["goal"].split()[1])
                assert row["met"] == str(rate <= goal if most else rate >= goal), row["case"]
