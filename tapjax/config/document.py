"""Documentation of the fields of a config, made from the tables that also validate them."""

import textwrap

from tapjax.config.families import common
from tapjax.config.schema import FAMILIES, ConfigError

TITLES = {
    "": "Fields of every run",
    "credit": "Fields of family=credit",
    "plasticity": "Fields of family=plasticity",
    "motifs": "Fields of family=motifs",
}
WIDTH = 98
HEAD = ["| field | default | allowed | meaning |", "|---|---|---|---|"]


def text(family: str = "") -> str:
    """Describe the fields as text for a terminal.

    Args:
      family: family whose fields follow the common ones; empty for all families.

    Returns:
      Text with lines of at most 98 characters. A line with a longer word is longer.

    Raises:
      ConfigError: if the family is unknown.
    """
    if family and family not in FAMILIES:
        raise ConfigError(f"family={family!r} {common.RUN['family'].check.fault(family)}")
    lines = []
    for title, table in _tables(family):
        lines.append(title)
        for name, field in table.items():
            allowed = field.check.allowed and f"Allowed: {field.check.allowed}."
            lines.append(f"  {name} = {field.default!r}")
            lines += _indented(field.help) + _indented(allowed)
        lines.append("")
    return "\n".join(lines).rstrip()


def markdown() -> str:
    """Return the content of the page docs/fields.md, which describes all fields."""
    lines = [
        "# Fields of a config",
        "",
        "Made by `tapjax fields --markdown` from the tables in `tapjax/config/families`. Set a "
        "field with `--config.NAME=VALUE`; a config holds the common fields and those of its own "
        "family.",
    ]
    for title, table in _tables(""):
        lines += ["", f"## {title}", "", *HEAD]
        for name, field in table.items():
            cells = (f"`{name}`", f"`{field.default!r}`", field.check.allowed, field.help)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _indented(line):
    return textwrap.wrap(line, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _tables(family):
    tables = {"": common.FIELDS} | {name: table for name, table in FAMILIES.items() if table}
    return [(TITLES[name], tables[name]) for name in tables if not family or name in ("", family)]
