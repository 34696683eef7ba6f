"""Types for the fields of a config: default, allowed values and meaning. Imports no JAX."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tapjax.contract.architectures import parse_architecture
from tapjax.contract.text import did_you_mean


class Check(NamedTuple):
    """Check of the values that a field may have.

    `allowed` describes these values in words for the documentation. For a value that is not
    allowed, `fault(value)` returns the end of the sentence "FIELD=VALUE ..."; for an allowed value
    it returns an empty string. `choices` holds the allowed names if there is a list of them.
    """

    allowed: str
    fault: Callable[[Any], str]
    choices: tuple[str, ...] = ()


class Field(NamedTuple):
    """Default, check and help text of one field; the type of the default is the field's type."""

    default: Any
    check: Check
    help: str


def is_import_path(name: str) -> bool:
    """Decide whether a name has the form `package.module:function`."""
    module, colon, function = name.partition(":")
    parts = [*module.split("."), function]
    return bool(colon) and all(part.isidentifier() for part in parts)


ANY = Check("", lambda value: "")
SWITCH = Check("True or False", lambda value: "")


def at_least(least: int, allowed: str = "") -> Check:
    """Return a check that a number is not below a bound.

    Args:
      least: the bound, 0 or 1.
      allowed: description of the allowed values; empty for `LEAST or more`.

    Returns:
      A Check.
    """
    fault = "must not be negative" if least == 0 else f"must be at least {least}"
    return Check(allowed or f"{least} or more", lambda value: fault if value < least else "")


def _share(value):
    return "" if 0 <= value < 1 else "must be in [0, 1)"


ABOVE_ZERO = Check("above 0", lambda value: "" if value > 0 else "must be above 0")
BELOW_ONE = Check("[0, 1)", _share)


def own_or_share(owner: str) -> Check:
    """Return a check for shares in [0, 1) that also allows -1, which selects another value.

    Args:
      owner: description of the value that -1 selects, such as `the optimizer's own`.

    Returns:
      A Check.
    """
    fault = f"must be in [0, 1), or -1 for {owner}"
    return Check(f"[0, 1), or -1: {owner}", lambda v: fault if v != -1 and _share(v) else "")


def one_of(*choices: str, or_import_path: bool = False) -> Check:
    """Return a check for names from a list.

    Args:
      *choices: allowed names.
      or_import_path: whether to also allow `package.module:function`, a user-defined function.

    Returns:
      A Check.
    """
    allowed = ", ".join(choices)

    def fault(value):
        if value in choices or (or_import_path and is_import_path(value)):
            return ""
        return f"is not one of {allowed}{did_you_mean(value, choices)}"

    own = ", or package.module:function" if or_import_path else ""
    return Check(allowed + own, fault, choices)


def _architecture_fault(name):
    if is_import_path(name):
        return ""
    try:
        parse_architecture(name)
    except ValueError as error:
        return f"is no architecture: {str(error).removeprefix(f'{name!r}: ')}"
    return ""


ARCHITECTURE = Check(
    "an architecture of the zoo, one with sizes such as mlp:depth=6,width=96, or "
    "package.module:function",
    _architecture_fault,
)
IMPORT_PATH = Check(
    "package.module:function, or empty",
    lambda value: "" if not value or is_import_path(value) else "must be package.module:function",
)
