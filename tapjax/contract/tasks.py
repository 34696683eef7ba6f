"""Names and settings of tasks that differ from data sets of images. Needs no NumPy."""

# Tasks whose training examples are drawn anew at every step (see data/sequences.py): their settings
# and defaults. With `shuffled=1`, targets belong to other examples, so that nothing can be learned.
# With `partial=1`, all can be learned but the ability. Both alter the training examples alone.
DRAWN = {
    "induction": {"vocab": 64, "length": 64, "partial": 0, "shuffled": 0},
    "parity": {"bits": 40, "relevant": 4, "partial": 0, "shuffled": 0},
    "icl": {"dim": 8, "examples": 24, "shuffled": 0},
    "mixture": {"tasks": 8, "bits": 30, "relevant": 3, "zipf": 1.4, "shuffled": 0},
}
REAL_VALUED = ("bits", "icl")  # tasks with real-valued targets


def is_drawn(name: str) -> bool:
    """Decide whether the training examples of a data set are drawn anew at every step."""
    return name.partition(":")[0] in DRAWN


def has_sequences(name: str) -> bool:
    """Decide whether a data set has one target per position of a sequence."""
    return name.partition(":")[0] in ("induction", "icl", "text")


def settings(name: str, defaults: dict) -> dict:
    """Read the settings in the name of a task.

    Args:
      name: name of the task, optionally with settings after a colon.
      defaults: value of each setting that is not given.

    Returns:
      Setting -> value.

    Raises:
      ValueError: if a setting is unknown or malformed.

    Examples:
      >>> settings("modular:p=31", {"p": 59, "train": 50})
      {'p': 31, 'train': 50}
    """
    kind, _, text = name.partition(":")
    usual = ",".join(f"{key}={value}" for key, value in defaults.items())
    found = dict(defaults)
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise ValueError(f"{key!r} is no setting: write {kind}:{usual}")
        try:
            found[key] = type(defaults[key])(value)
        except ValueError:
            raise ValueError(f"{part!r} is malformed: write {kind}:{usual}") from None
    return found
