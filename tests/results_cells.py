"""How a cell of a table of docs/results is computed from the rows of a csv or json file."""

import statistics
from collections.abc import Callable
from typing import NamedTuple


def only(rows, name):
    """The value of the only row."""
    assert len(rows) == 1, f"{len(rows)} rows have a {name}, not one"
    return rows[0][name]


def least(rows, name):
    return min(float(row[name]) for row in rows)


def most(rows, name):
    return max(float(row[name]) for row in rows)


def median(rows, name):
    values = [float(row[name]) for row in rows]
    return statistics.median(values) if values else ""


def mean(rows, name):
    """The mean, or nothing where no row has a value."""
    values = [float(row[name]) for row in rows if row[name]]
    return statistics.mean(values) if values else ""


def above(rows, name):
    """The share above .8, in percent."""
    return 100 * sum(float(row[name]) > 0.8 for row in rows) / len(rows) if rows else ""


def total(rows, name):
    return sum(float(row[name]) for row in rows)


def count(rows, name):
    return len(rows)


def different(rows, name):
    return len({row[name] for row in rows})


def best(rows, name):
    """The value at the best validation accuracy."""
    return max(rows, key=lambda row: float(row["validation_accuracy"]))[name]


def leading(rows, name):
    """The value of the row of the largest z."""
    return max(rows, key=lambda row: float(row.get("z") or 0))[name]


class Item(NamedTuple):
    """A number of a cell: column `name` of those rows that are like `where`, times `scale`."""

    name: str
    how: Callable = only
    where: dict = {}
    scale: float = 1


class Table(NamedTuple):
    """A table of a page: words of its head, and where its numbers are.

    `files`: beside the page. The first columns of the table say which rows of the files are meant:
    those with these values of `keys`, translated by `words` (a dict: these values of these
    columns; None: no file holds this row). `columns`: the other heads, and what stands below each:
    names of file columns or Items, one for each number of a cell, an interval from `..._half`;
    None: no file holds it. `where`: which rows of the files are meant throughout.
    `transposed`: the page has what is a column here as a row.
    """

    page: str
    head: str
    files: str
    keys: tuple
    columns: dict
    words: dict = {}
    where: dict = {}
    transposed: bool = False
