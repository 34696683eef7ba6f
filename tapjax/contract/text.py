"""Text for terminals: suggestions, paths with `~`, and control characters."""

import difflib
import os
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error message.

    Args:
      name: what was given.
      known: names that exist.

    Returns:
      `; did you mean 'NAME'?` with the closest name, or an empty string if none is close.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def with_home(argument: str) -> str:
    """Replace `~` in `--name=~/path` by the home folder: a shell does so only after a space."""
    name, equals, value = argument.partition("=")
    return f"{name}={os.path.expanduser(value)}" if equals and name[:1] == "-" else argument


def printable(text: str) -> str:
    """Write characters that a terminal would obey as escapes; line ends stay.

    Names and reasons in a run directory may hold anything, also sequences that move the cursor.
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )
