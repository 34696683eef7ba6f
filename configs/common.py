"""What configs share: the defaults, typed arguments, and the quick form of any config."""

from ml_collections import ConfigDict

from tapjax.config.schema import defaults
from tapjax.contract.text import did_you_mean

# Training images and classes of the data sets that configs are written for; others are taken to
# have 50,000 and 10.
EXAMPLES = {"digits": 1437, "mnist": 60_000, "fashion_mnist": 60_000, "tiny_imagenet": 100_000}
CLASSES = {"cifar100": 100, "tiny_imagenet": 200}


def base(**fields) -> ConfigDict:
    """The default config with top-level fields replaced.

    Args:
      **fields: fields of `tapjax.config.schema.defaults`.

    Returns:
      A new config.
    """
    config = defaults(fields.get("family", "tap"))
    config.update(fields)
    return config


def parse_arg(arg: str, **spec) -> ConfigDict:
    """Read the part after the colon of `--config=FILE.py:quick,seeds=5`.

    A name alone sets a flag; a value is read with the type of its default. A value may itself
    hold commas inside an architecture, as in `arch=mlp:depth=2,width=64`.

    Args:
      arg: the text after the colon.
      **spec: name -> default.

    Returns:
      The arguments.

    Raises:
      ValueError: unknown name or unreadable value.
    """
    args = ConfigDict(spec)
    last = None
    for part in filter(None, (arg or "").split(",")):
        name, equals, value = part.partition("=")
        if name not in spec and equals and last and ":" in args[last]:
            args[last] += f",{part}"
            continue
        if name not in spec:
            raise ValueError(
                f"config argument {name!r} is not one of {', '.join(spec)}"
                + did_you_mean(name, spec)
            )
        args[name] = read_value(name, value, equals, spec[name])
        last = name if isinstance(spec[name], str) else None
    return args


def read_value(name: str, value: str, equals: str, default):
    """A value in the type of its default.

    Args:
      name: of the argument.
      value: as text.
      equals: `=`, or nothing where a flag's name stands alone.
      default: its value otherwise.

    Returns:
      The value.

    Raises:
      ValueError: unreadable.
    """
    if isinstance(default, bool):
        truths = {"": True, "true": True, "1": True, "false": False, "0": False}
        if value.lower() not in truths or (equals and not value):
            raise ValueError(f"config argument {name}={value!r} must be true or false")
        return truths[value.lower()]
    if not equals or not value:
        raise ValueError(f"config argument {name!r} needs a value, as in {name}={default!r}")
    try:
        return type(default)(value)
    except ValueError as error:
        wanted = {int: "an integer", float: "a number"}[type(default)]
        raise ValueError(f"config argument {name}={value!r} must be {wanted}") from error


def quick(config: ConfigDict) -> ConfigDict:
    """Shrink any config to seconds on two processor cores, keeping its structure.

    Sizes of data are at most so many: a smaller data set is taken whole.

    Args:
      config: a config.

    Returns:
      The same config, changed in place.
    """
    config.steps = min(config.steps, 300)
    config.eval_every = min(config.eval_every, 100)
    config.chunk_steps = 100
    config.data.train_size = min(config.data.train_size or 1000, 1000)
    config.data.test_size = min(config.data.test_size or 300, 300)
    config.probe.size = min(config.probe.size, 256)
    config.checkpoint.every = 100
    return config
