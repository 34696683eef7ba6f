"""Functions for text in terminals: suggestions, paths with `~`, and control characters."""

import difflib
import os
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest a known name, as a text to append to an error message.

    Args:
      name: name that the user gave.
      known: names that exist.

    Returns:
      `; did you mean 'NAME'?` with the closest name, or an empty string if no name is close.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def with_home(argument: str) -> str:
    """Replace `~` in `--name=~/path` by the home folder.

    A shell does this only at the beginning of a word, not after `=`.

    Args:
      argument: one argument of a command line.

    Returns:
      The argument with the replacement. An argument that has not this form is returned unchanged.
    """
    name, equals, value = argument.partition("=")
    return f"{name}={os.path.expanduser(value)}" if equals and name[:1] == "-" else argument


def plural(count: int, noun: str) -> str:
    """Return a count and a noun that agree, as in `1 seed` and `2 seeds`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shortened(lines: Iterable[str], most: int = 1) -> str:
    """Join lines with semicolons; of more than `most` lines, only the first are shown."""
    lines = list(lines)
    rest = len(lines) - most
    return "; ".join(lines[:most]) + (f"; and {rest} more" if rest > 0 else "")


def printable(text: str) -> str:
    """Replace control characters by their escape sequences and keep line ends.

    This is needed because names and reasons in a run directory may hold any characters, for
    example sequences that move the cursor of a terminal.

    Args:
      text: any text.

    Returns:
      Text that is safe to print.
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )
