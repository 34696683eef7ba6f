"""Write the csv files of this folder from bench.json of the suite, and table.md from them.

    tapjax bench --suite=validity --out=out/validity
    python docs/results/validity/table.py out/validity/bench.json

Without an argument, the script writes only table.md.
"""

import csv
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = ("case", "kind", "n", "rate", "low", "high", "goal", "met")
HEAD = [
    "| case | kind | before: rate (n) | now: rate (n) | 95 % interval | goal | met |",
    "|---|---|---|---|---|---|---|",
]


def read(path):
    """Read the rows of a csv file; return no rows if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rounded(row):
    """Round the floats of a row to four decimals."""
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}


def split(bench):
    """Write one csv file per area of a bench.json."""
    rows = json.loads(Path(bench).read_text())["suites"]["validity"]
    for name in dict.fromkeys(row["area"] for row in rows):
        with (HERE / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rounded(row) for row in rows if row["area"] == name)


def area(name):
    """Format the table of one area as lines of Markdown."""
    before = {row["case"]: row for row in read(HERE / "before" / f"{name}.csv")}
    lines = [f"## {name}", "", *HEAD]
    for row in read(HERE / f"{name}.csv"):
        then = before.get(row["case"])
        cells = [
            row["case"],
            row["kind"],
            f"{float(then['rate']):.3g} ({then['n']})" if then else "-",
            f"{float(row['rate']):.3g} ({row['n']})",
            f"{float(row['low']):.2f} to {float(row['high']):.2f}",
            row["goal"],
            "yes" if row["met"] == "True" else "**no**",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def markdown():
    """Format the tables of all areas as one text in Markdown."""
    lines = ["# Rates of claims on data whose truth is known", ""]
    lines += ["Made by `table.py` from the csv files; read with [README.md](README.md).", ""]
    for path in sorted(HERE.glob("*.csv")):
        lines += [*area(path.stem), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    for bench in sys.argv[1:]:
        split(bench)
    (HERE / "table.md").write_text(markdown())
