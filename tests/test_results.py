"""The numbers of a results page are those of the csv and json files beside it."""

import csv
import json
import re
import runpy
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from analysis.tap import alpha, held_out, predict
from launch.benchmarks.tables import markdown
from launch.benchmarks.validity import suite
from tests.results_tables import TABLES, UNCOVERED, Item

RESULTS = Path(__file__).parent.parent / "docs" / "results"
DIGITS = r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d*\.?\d+)(?:e[-+]?\d+)?"
NUMBER = re.compile(DIGITS)
BLANK = r"(?<![^\s(])-(?![^\s,)])"
TOKEN = re.compile(rf"({DIGITS}|{BLANK})(?: \+- ({DIGITS}))?")
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
BY_DEFINITION = ("1", "")  # the Gamma of backprop: the page says 1, the csv nothing
BENCHMARKS = ("bench/bench", "bench/edm/bench", "bench/metrics/bench", "bench/recorder/bench")
BENCHMARKS += ("reliability/scaling", "reliability/soak", "reliability/stream")
REPORTS = sorted(str(p.relative_to(RESULTS)) for p in RESULTS.glob("*/*/comparison_report.md"))
ALPHA = ("tap/calibration/phase1_report.md", "tap/grid/phase1_report.md")
SHUFFLED = ("tap/grid/README.md", "| predictor | D(init) | skill")
MADE_BY_CODE = {*(f"{name}.md" for name in BENCHMARKS), *REPORTS, *ALPHA, "validity/table.md"}


def cells(line):
    plain = LINK.sub(r"\1", line).replace("**", "")
    return [cell.strip() for cell in plain.strip().strip("|").split("|")]


def page_tables(page):
    return tables_in((RESULTS / page).read_text())


def tables_in(text):
    """Tables of Markdown: (line of the head, heads, rows of cells)."""
    tables, before = [], ""
    for line in map(str.strip, text.splitlines()):
        if re.fullmatch(r"\|( *:?-+:? *\|)+", line):
            tables.append((before, cells(before), []))
        elif line.startswith("|") and before.startswith("|") and tables:
            tables[-1][2].append(cells(line))
        before = line
    return tables


def head_and_rows(table):
    found = [found for found in page_tables(table.page) if table.head in found[0]]
    assert len(found) == 1, f"{len(found)} tables have the head {table.head!r}"
    _, head, rows = found[0]
    if table.transposed:
        head, *rows = zip(head, *rows, strict=True)
    assert len(set(head)) == len(head), f"two columns have one name: {head}"
    return list(head), rows


def every_dict(value):
    """All dicts that stand anywhere in a JSON value."""
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        yield from every_dict(part)


@cache
def file_rows(path):
    """Rows of a csv file, dicts of a json file; `run` is the folder unless the row says it.

    The parts of a run's name such as `method=dfa,depth=4` are columns, too.
    """
    if path.suffix == ".json":
        rows = list(every_dict(json.loads(path.read_text())))
    else:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        parts = dict(re.findall(r"(?:^|,)(\w+)=([^,=]+)(?=,|$)", str(row.get("run", ""))))
        found.append({"csv": path.name, "run": path.parent.name} | parts | row)
    return found


def rows_like(rows, where):
    """Those rows that have the values of `where`; where it has several, one of them."""
    wanted = {key: value if isinstance(value, tuple) else (value,) for key, value in where.items()}
    return [row for row in rows if all(str(row.get(key)) in wanted[key] for key in wanted)]


def expected(rows, item):
    """(number, half or None) of each number that an item stands for; "" where the file has none."""
    item = Item(item) if isinstance(item, str) else item
    rows = rows_like(rows, item.where)
    value = item.how([row for row in rows if item.name in row], item.name)
    halves = [row[f"{item.name}_half"] for row in rows if f"{item.name}_half" in row]
    half = halves[0] if len(halves) == 1 else None
    numbers = NUMBER.findall(str(value)) or [""]
    return [(float(number) * item.scale if number else "", half) for number in numbers]


def agrees(text, value):
    """Whether a number as written is that of the file, rounded to its last digit."""
    if text == "-" or value in ("", None):
        return text == "-" and value in ("", None)
    mantissa, _, exponent = text.replace(",", "").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(text.replace(",", "")) - float(value)) <= 0.5 * unit + 1e-9


def wrong_in(cell, spec, rows):
    """What is wrong with the numbers of a cell, and how many were looked at."""
    written = TOKEN.findall(cell)
    items = spec if type(spec) is tuple else (spec,)
    wanted = [w for item in items for w in ([None] if item is None else expected(rows, item))]
    if written and len(written) != len(wanted):
        return [(cell, f"{len(written)} numbers, not {len(wanted)}")], 0
    pairs = [pair for pair in zip(written, wanted, strict=False) if pair[1] is not None]
    return [
        (cell, number, value)
        for texts, values in pairs
        for number, value in zip(texts, values, strict=True)
        if number and (number, value) != BY_DEFINITION and not agrees(number, value)
    ], len(pairs)


def rows_of(table, labels):
    """Rows of the table's files that a row of the page is about; None if no file holds it."""
    where = dict(table.where)
    for key, label in zip(table.keys, labels, strict=False):
        value = table.words.get(label, label)
        if value is None:
            return None
        where |= value if isinstance(value, dict) else {key: value}
    folder = (RESULTS / table.page).parent
    rows = [row for name in table.files.split() for row in file_rows(folder / name)]
    return rows_like(rows, where)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{Path(t.page).parent}:{t.head}")
def test_a_results_table_agrees_with_its_file(table):
    head, rows = head_and_rows(table)
    assert set(head[len(table.keys) :]) == set(table.columns)
    wrong, checked = [], dict.fromkeys(name for name, spec in table.columns.items() if spec)
    for labels in rows:
        meant = rows_of(table, labels)
        for name, cell in zip(head, labels, strict=True):
            if meant is None or not table.columns.get(name) or not TOKEN.search(cell):
                continue
            faults, looked_at = wrong_in(cell, table.columns[name], meant)
            wrong += [(*labels[: len(table.keys)], name, *fault) for fault in faults]
            checked[name] = (checked[name] or 0) + looked_at
    assert not wrong, "\n".join(map(str, wrong))
    assert all(checked.values()), checked


def test_every_table_is_compared_or_named_as_one_without_a_file():
    unused = set(UNCOVERED)
    for path in sorted(RESULTS.rglob("*.md")):
        page = str(path.relative_to(RESULTS))
        for line, _, _ in page_tables(page):
            compared = page in MADE_BY_CODE or (page == SHUFFLED[0] and SHUFFLED[1] in line)
            compared |= any(t.page == page and t.head in line for t in TABLES)
            named = {key for key in UNCOVERED if key[0] == page and key[1] in line}
            assert compared != bool(named), f"{page}: {line}"
            unused -= named
    assert not unused


def is_written(texts, row):
    """Whether the texts, by column, are those of a row, numbers rounded."""
    return all(
        text == str(row.get(name)) or (TOKEN.fullmatch(text) and agrees(text, row.get(name)))
        for name, text in texts.items()
    )


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_page_is_that_of_its_json(name):
    made = tables_in(markdown(json.loads((RESULTS / f"{name}.json").read_text())))
    written = page_tables(f"{name}.md")
    assert written
    for (_, head, rows), (_, made_head, made_rows) in zip(written, made, strict=True):
        assert set(head) == set(made_head)
        for row, made_row in zip(rows, made_rows, strict=True):
            texts = dict(zip(head, row, strict=True))
            found = dict(zip(made_head, made_row, strict=True))
            assert is_written(texts, found), (texts, found)


@pytest.mark.parametrize("page", REPORTS)
def test_a_mechanistic_report_is_that_of_its_json(page):
    known = file_rows((RESULTS / page).with_name("analysis_results.json"))
    for _, head, rows in page_tables(page):
        for row in rows:
            texts = dict(zip(head, row, strict=True))
            assert any(is_written(texts, found) for found in known), texts


@pytest.mark.parametrize("page", ALPHA)
def test_scores_of_alpha_are_those_of_its_csv(page):
    fits = pd.read_csv((RESULTS / page).with_name("alpha_summary.csv"))
    forms = alpha.regress(alpha.by_architecture(fits))
    ((_, _, rows),) = page_tables(page)
    for row, form in zip(rows, forms, strict=True):
        texts = dict(zip(("form", "n", "r2_in_sample", "r2_loao"), row, strict=True))
        assert is_written(texts, form), (texts, form)


@pytest.mark.long
def test_skill_beside_shuffled_architectures_is_that_of_the_calibration():
    page, head = SHUFFLED
    examples = predict.from_table(
        json.loads((RESULTS / page).with_name("predictor.json").read_text())["examples"]
    )
    ((_, _, rows),) = [found for found in page_tables(page) if head in found[0]]
    for name, init, *numbers in rows:
        found = held_out.skill_of_shuffled(examples, name, init == "yes", 19)
        texts = dict(zip(found, numbers, strict=True))
        assert is_written(texts, found), (name, init, texts, found)


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
    assert areas == set(suite.AREAS)
    for area in areas:
        with (folder / f"{area}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                rate, most = float(row["rate"]), row["goal"].startswith("<=")
                goal = float(row["goal"].split()[1])
                assert row["met"] == str(rate <= goal if most else rate >= goal), row["case"]
