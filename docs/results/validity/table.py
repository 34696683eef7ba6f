"""Print table.md from the csv files of this folder: python docs/results/validity/table.py."""

import csv
from pathlib import Path

HERE = Path(__file__).parent
HEAD = [
    "| case | kind | before: rate (n) | now: rate (n) | 95 % interval | goal | met |",
    "|---|---|---|---|---|---|---|",
]


def read(path):
    """Rows of a csv file, none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def area(name):
    """The table of one area, as lines of Markdown."""
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
    """All areas."""
    lines = ["# Rates of claims on data whose truth is known", ""]
    lines += ["Made by `table.py` from the csv files; read with [README.md](README.md).", ""]
    for path in sorted(HERE.glob("*.csv")):
        lines += [*area(path.stem), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    (HERE / "table.md").write_text(markdown())
