"""Functions that configs share: defaults, typed arguments, and the quick form of a config."""

from ml_collections import ConfigDict

from tapjax.config.schema import defaults
from tapjax.contract.tasks import is_drawn
from tapjax.contract.text import did_you_mean

# Numbers of training images and of classes of the data sets that configs are written for. Other
# data sets are assumed to have 50,000 images and 10 classes.
EXAMPLES = {"digits": 1437, "mnist": 60_000, "fashion_mnist": 60_000, "tiny_imagenet": 100_000}
CLASSES = {"cifar100": 100, "tiny_imagenet": 200}


def base(**fields) -> ConfigDict:
    """Return the default config with some top-level fields replaced.

    Args:
      **fields: top-level fields of `tapjax.config.schema.defaults` and their new values.

    Returns:
      A new config.
    """
    config = defaults(fields.get("family", "tap"))
    config.update(fields)
    return config


def parse_arg(arg: str, **spec) -> ConfigDict:
    """Parse the part after the colon of `--config=FILE.py:quick,seeds=5`.

    A name alone sets a flag. A value is read with the type of its default. The value of an
    architecture may contain commas, as in `arch=mlp:depth=2,width=64`.

    Args:
      arg: text after the colon.
      **spec: name -> default value.

    Returns:
      All arguments of `spec` with their values.

    Raises:
      ValueError: a name is unknown or given twice, or a value cannot be read.
    """
    args = ConfigDict(spec)
    last, seen = None, set()
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
        if name in seen:
            raise ValueError(f"config argument {name!r} is given twice")
        seen.add(name)
        args[name] = read_value(name, value, equals, spec[name])
        last = name if isinstance(spec[name], str) else None
    return args


def read_value(name: str, value: str, equals: str, default):
    """Convert a value to the type of its default.

    Args:
      name: name of the argument.
      value: value as text.
      equals: `=`; empty if the name of a flag is given without a value.
      default: default value of the argument.

    Returns:
      The value in the type of the default.

    Raises:
      ValueError: the value is missing or cannot be read.
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
    """Shrink any config to a run of seconds on two processor cores, and keep its structure.

    The sizes of the data are upper bounds: a smaller data set is used completely.

    Args:
      config: config of any family.

    Returns:
      The same config, changed in place.
    """
    config.steps = min(config.steps, 300)
    config.eval_every = min(config.eval_every, 100)
    config.chunk_steps = 100
    if not is_drawn(config.data.name):
        config.data.train_size = min(config.data.train_size or 1000, 1000)
    config.data.test_size = min(config.data.test_size or 300, 300)
    config.probe.size = min(config.probe.size, 256)
    config.checkpoint.every = 100
    return config
