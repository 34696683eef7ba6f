"""Results of benchmarks as Markdown tables."""


def markdown(result: dict) -> str:
    """Format the results of a benchmark.

    Args:
      result: content of bench.json: `command`, `machine`, `peaks` and the rows of each of `suites`.

    Returns:
      Text in Markdown, one table per suite.
    """
    facts = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    lines = ["# Benchmarks", "", f"`{result['command']}`", "", facts, ""]
    for row in result["peaks"]:
        lines.append(f"- {row['library']} matmul {row['shape']}: {row['gflops']:.0f} GF/s")
    for name, rows in result["suites"].items():
        lines += ["", f"## {name}", ""]
        if "ratio" not in rows[0]:
            lines += plain_table(rows)
            continue
        lines += [
            "| A / B | ratio | min-max | A cpu ms | B cpu ms | A wall ms | B wall ms | goal |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for r in rows:
            times = " | ".join(
                f"{r[key]:.3g}" for key in ("a_cpu_ms", "b_cpu_ms", "a_wall_ms", "b_wall_ms")
            )
            goal = r.get("goal") or ""
            lines.append(
                f"| {r['what']} | {r['ratio']:.2f} | {r['min']:.2f}-{r['max']:.2f} | {times} "
                f"| {goal} |"
            )
    return "\n".join(lines) + "\n"


def plain_table(rows: list[dict]) -> list[str]:
    """Format rows with arbitrary columns as a Markdown table.

    Args:
      rows: rows; the keys of the first are the columns.

    Returns:
      Lines of the table.
    """

    def show(value):
        if isinstance(value, list):
            return ", ".join(map(str, value)) or "none"
        return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return lines + ["| " + " | ".join(map(show, row.values())) + " |" for row in rows]
