"""Command line that the launch scripts share: flags, help texts, error messages, exit codes."""

import functools
import os
import re
import sys
import textwrap

from absl import app, flags, logging

from launch import arguments
from tapjax.contract.text import did_you_mean, printable, with_home

# Flags that are defined here belong to the script, whose help lists them.
flags.disclaim_key_flags()
HELP = {"--help", "-h", "-help", "--helpfull", "--helpshort"}
KINDS = {"int": "N", "comma separated list of strings": "NAME,NAME,..."}
MOST_STEPS = 1_000_000  # in one range of --steps
# Beginnings of absl's messages about the value of a flag, and what the value must be.
WANTED = {
    "invalid literal for int": "an integer",
    "could not convert string to float": "a number",
    r"\('Non-boolean argument": "true or false",
}
INTERRUPTED = 130  # exit code that a shell reports for a process ended by SIGINT
EXIT = {"DONE": 0, "DIVERGED": 3, "PREEMPTED": 75}


def main(body, *wanted: str) -> None:
    """Run a script: parse flags, and turn every expected error into one line and an exit code.

    Args:
      body: function of the arguments that are not flags; it returns an exit code.
      *wanted: names of the arguments that are not flags; the name of an optional argument is in
        brackets.
    """
    app.run(
        lambda argv: sys.exit(_explain(body, argv[1:])),
        flags_parser=functools.partial(_parse, wanted=wanted),
    )


def _parse(argv, wanted):
    if not all(map(_is_text, argv)):
        sys.exit(_usage("the arguments are not all UTF-8"))
    if HELP & set(argv[1:]):
        print(_help(wanted))
        sys.exit(0)
    argv = [argv[0], *arguments.with_config_file(list(map(with_home, argv[1:])))]
    problem = arguments.problem(argv[1:])
    if problem:
        sys.exit(_usage(problem))
    try:
        remaining = flags.FLAGS(argv)
        # A config file that could not be read raises an error only when a field is read.
        config = flags.FLAGS.config if "config" in flags.FLAGS else None
        if not isinstance(config, (str, type(None))):
            _ = config.family
    except flags.Error as error:
        sys.exit(_usage(_said_by_absl(str(error))))
    except Exception as error:  # a config file is code and may raise any error
        sys.exit(_usage(arguments.other_family(argv, error) or said_by(error)))
    given, needed = remaining[1:], [name for name in wanted if not name.startswith("[")]
    if len(given) > len(wanted):
        sys.exit(_usage(f"unexpected argument {given[len(wanted)]!r}"))
    if len(given) < len(needed):
        sys.exit(_usage(f"{needed[len(given)]} is missing"))
    return remaining


def _help(wanted):
    """Return the script's docstring and each of its flags with its default and choices."""
    lines = [sys.modules["__main__"].__doc__.strip(), "", "flags:"]
    for flag in sorted(flags.FLAGS.get_key_flags_for_module("__main__"), key=lambda f: f.name):
        choices = getattr(flag.parser, "enum_values", None)
        kind = "|".join(choices) if choices else KINDS.get(flag.flag_type(), "TEXT")
        name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={kind}"
        text = flag.help.removeprefix(f"<{kind}>: ")
        if flag.default not in (None, False, ""):
            default = f" Default: {flag.default_as_str.strip(chr(39))}."
        else:
            default = ""
        lines += textwrap.wrap(f"  {name:28} {text}{default}", 98, subsequent_indent=" " * 31)
    return "\n".join(lines)


def said_by(error: Exception) -> str:
    """Return the message of an error that a config file raised.

    Args:
      error: error raised while the file was read.

    Returns:
      The message. The name of the error's class precedes it if the class is not one that config
      files usually raise, or if the message is empty.
    """
    from tapjax.config.schema import ConfigError

    text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    known = isinstance(
        error, (AttributeError, KeyError, ValueError, TypeError, OSError, ConfigError)
    )
    return text if known and text else f"{type(error).__name__}: {text}"


def _is_text(argument) -> bool:
    """Decide whether text can be written as UTF-8; Python keeps other bytes as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _said_by_absl(message) -> str:
    """Return an error message of absl in the style of this project."""
    missing = re.match(r"flag --(\w+)=None: Flag --\w+ must have a value", message)
    if missing:
        return f"--{missing[1]}=... is missing: {flags.FLAGS[missing[1]].help}"
    unknown = re.match(r"Unknown command line flag '([^']*)'", message)
    if unknown:
        known = [flag.name for flag in flags.FLAGS.get_key_flags_for_module("__main__")]
        hint = did_you_mean(f"--{unknown[1]}", [f"--{name}" for name in known])
        return f"--{unknown[1]} is no flag{hint}"
    for pattern, wanted in WANTED.items():
        found = re.match(rf"flag --([\w.]+)=(.*?): {pattern}", message, re.DOTALL)
        if found:
            return f"--{found[1]}={found[2]} must be {wanted}"
    one_of = re.match(r"flag --(\w+)=(.*?): value should be one of <(.*)>", message)
    if one_of:
        name, given, choices = one_of[1], one_of[2], one_of[3].split("|")
        return f"--{name}={given} is not one of {', '.join(choices)}{did_you_mean(given, choices)}"
    return message


def _usage(message) -> int:
    if "Traceback" in message:
        # The error was raised inside a config file. The last line of the traceback describes it.
        message = message.strip().splitlines()[-1].strip("> '").partition(": ")[2]
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return 2


def _explain(body, arguments) -> int:
    from analysis.runs.reader import RunError
    from tapjax.config.schema import ConfigError
    from tapjax.data.datasets import DataError
    from tapjax.store.rundir import CheckpointError, RunDirError
    from tapjax.sweep.engines import EngineError

    logging.set_verbosity(logging.WARNING)
    try:
        return body(*arguments)
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe, so nothing may be printed at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        print(str(error) or "stopped; the same command resumes", file=sys.stderr)
        return INTERRUPTED
    except (ConfigError, DataError, RunDirError, RunError) as error:
        return _usage(str(error))
    except (CheckpointError, EngineError, OSError) as error:
        _usage(str(error))
        return 1


def define_drift():
    """Define the flag --allow_numeric_drift of the scripts that replay a run."""
    return flags.DEFINE_bool(
        "allow_numeric_drift",
        False,
        "Replay although the bits may differ, for example with another number of cores or other "
        "versions.",
    )


def check_reached(path, steps) -> int:
    """Check that a run has reached some steps.

    Args:
      path: run directory.
      steps: steps; there may be none.

    Returns:
      The step that the run has reached.

    Raises:
      ConfigError: it has not reached one of the steps.
    """
    from tapjax.config.schema import ConfigError
    from tapjax.contract.files import read_json

    status = read_json(path / "STATUS.json", {"status": str, "step": int})
    if steps and max(steps) > status["step"]:
        raise ConfigError(
            f"step {max(steps)} has not been reached: the run is {status['status']} at step "
            f"{status['step']}"
        )
    return status["step"]


def parse_steps(text: str, flag: str = "--steps") -> list[int]:
    """Parse steps that are given as numbers and ranges.

    Args:
      text: comma-separated numbers and START:STOP:STEP ranges, STOP excluded, as in
        `0,500,1200:1300:10`.
      flag: name of the flag, for error messages.

    Returns:
      Distinct steps in ascending order.

    Raises:
      ConfigError: the text is not of that form, or a range has more than `MOST_STEPS` steps.
    """
    from tapjax.config.schema import ConfigError

    steps = set()
    for part in filter(None, text.split(",")):
        try:
            numbers = [int(number) for number in part.split(":")]
            found = range(*numbers) if len(numbers) > 1 else numbers
        except (ValueError, TypeError):
            found = ()
        if not found or found[0] < 0 or found[-1] < 0:
            raise ConfigError(f"{flag}={part!r} is neither a step nor START:STOP:STEP")
        if len(found) > MOST_STEPS:
            raise ConfigError(f"{flag}={part!r} names more than {MOST_STEPS} steps")
        steps.update(found)
    return sorted(steps)
