"""Errors of the functions that a config names by an import path, told in one line."""

import contextlib
import sys
import traceback
from collections.abc import Iterator

from ml_collections import ConfigDict

from tapjax.config.schema import ConfigError, flatten, is_import_path
from tapjax.data.datasets import DataError

FIELDS = ("model.name", "loss", "rule.name", "credit.name", "probe.extra")


def user_objects(cfg: ConfigDict) -> dict[str, str]:
    """Return the fields of a config that name an object of the user's, with its import path."""
    values = flatten(cfg)
    return {name: values[name] for name in FIELDS if is_import_path(values.get(name, ""))}


@contextlib.contextmanager
def explained(cfg: ConfigDict) -> Iterator[None]:
    """Turn an error raised while a user's objects are built or traced into a ConfigError.

    Args:
      cfg: config of the run. If it names no object of the user's, errors pass unchanged.

    Raises:
      ConfigError: the message names the field, the error and the line of the user's file.
    """
    named = user_objects(cfg)
    try:
        yield
    except (ConfigError, DataError):
        raise
    except Exception as error:  # user-defined code may raise any exception
        if not named:
            raise
        raise ConfigError(_explanation(error, named)) from error


def _explanation(error, named):
    files = {
        getattr(sys.modules.get(path.partition(":")[0]), "__file__", None): name
        for name, path in named.items()
    }
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = traceback.extract_tb(error.__traceback__)
    own = [i for i, code in enumerate(frames) if code.co_filename in files]
    fields = named
    if own:
        function = frames[own[-1]].co_qualname.partition(".")[0]
        of_function = {n: p for n, p in named.items() if p.endswith(f":{function}")}
        of_file = files[frames[own[-1]].co_filename]
        fields = of_function or {of_file: named[of_file]}
    place = places[own[-1] if own else -1]
    said = next(iter(str(error).strip().splitlines()), "")
    text = ", ".join(f"{name}={path!r}" for name, path in fields.items())
    return f"{text}: {type(error).__name__}: {said} ({place.filename}, line {place.lineno})"
