"""Functions that save and restore checkpoints; this is the only file that imports Orbax.

Orbax does not notice a flipped bit in its data files. The sha256 of each leaf is therefore saved
with the state and checked when the state is restored. A damaged checkpoint is reported, and the one
before it is used. States are saved as NumPy arrays, because then the compiled chunk may reuse its
donated buffers at once, and any kind of device can restore the states.
"""

import contextlib
import functools
import hashlib
import re
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.tree_util import keystr, tree_leaves_with_path

from tapjax.store.rundir import CheckpointError
from tapjax.types import Tree


class Restored(NamedTuple):
    """Restored states, their step, and the problems of newer checkpoints that were skipped."""

    states: Tree
    step: int
    skipped: list[str]


class _ReachBack(ocp.checkpoint_managers.PreservationPolicy):
    """Policy that keeps a few checkpoints at least `delay` steps apart.

    One of them is then at least `delay` steps older than the latest.
    """

    def __init__(self, delay: int):
        self._delay = delay

    def should_preserve(self, checkpoints, *, context):
        kept, previous = [], None
        for info in checkpoints:
            apart = previous is None or info.step - previous >= self._delay
            kept.append(apart and info.step > checkpoints[-1].step - 3 * self._delay)
            previous = info.step if apart else previous
        return kept


def open_manager(
    folder: Path, keep: int | None = None, period: int = 0, delay: int = 0, read_only=False
) -> ocp.CheckpointManager:
    """Open a manager of the checkpoints in a folder.

    Args:
      folder: absolute path of the folder.
      keep: number of the latest checkpoints that are kept; None for all.
      period: smallest distance in steps between further checkpoints that are kept, from the first
        one on; 0 for none.
      delay: number of steps that a few further kept checkpoints reach back; 0 for none.
      read_only: whether to neither make the folder nor clean up in it.

    Returns:
      An Orbax CheckpointManager; the caller has to close it.
    """
    policies = [ocp.checkpoint_managers.LatestN(keep)]
    if period:
        policies.append(ocp.checkpoint_managers.EveryNSteps(period, exact_interval=False))
    if delay:
        policies.append(_ReachBack(delay))
    # Orbax logs a warning for every manager that only reads.
    with _quiet() if read_only else contextlib.nullcontext():
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=not read_only,
        )
        return ocp.CheckpointManager(folder, options=options)


@contextlib.contextmanager
def _quiet():
    """Suppress the log messages of Orbax; errors are still raised."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def save(manager: ocp.CheckpointManager, step: int, states: Tree, force=False) -> None:
    """Save the states and wait until they are on disk.

    Args:
      manager: manager from `open_manager`.
      step: number of training steps done.
      states: TrainState with a leading seed axis.
      force: whether to save even if a later checkpoint exists.

    Raises:
      CheckpointError: if Orbax refuses or fails, for example because the disk is full.
    """
    host = _to_host(states)
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(host), digests=ocp.args.JsonSave(digests(host))
    )
    hook = sys.unraisablehook
    sys.unraisablehook = functools.partial(_report, hook)
    try:
        with _quiet():
            saved = manager.save(step, args=args, force=force)
            manager.wait_until_finished()
    except (OSError, ValueError) as error:
        # The hook stays in place because threads that write other leaves may fail later.
        raise CheckpointError(
            f"checkpoint of step {step} could not be written in {manager.directory}: "
            f"{_cause(error)}"
        ) from error
    sys.unraisablehook = hook
    if not saved:
        raise CheckpointError(f"checkpoint of step {step} was refused: a later one exists")


def _report(hook, unraisable):
    """Report an exception that could not be raised, unless it follows from a failed save."""
    if str(unraisable.exc_value) != "Event loop is closed":
        hook(unraisable)


def _cause(error):
    """Return the error message of the system without the names of Orbax's files."""
    found = re.search(r": ([^:]*) \[os_error_code", str(error))
    return found[1] if found else str(error).split("\n")[0]


def restore_latest_good(manager: ocp.CheckpointManager, like: Tree) -> Restored | None:
    """Restore the newest checkpoint in which every leaf matches its digest.

    Newer checkpoints, which cannot be used, are deleted.

    Args:
      manager: manager from `open_manager`.
      like: tree of arrays or `jax.ShapeDtypeStruct` with the structure, shapes and dtypes of the
        states.

    Returns:
      The restored states, or None if nothing was ever saved.

    Raises:
      CheckpointError: if checkpoints exist and none is usable.
    """
    steps = sorted(manager.all_steps(), reverse=True)
    skipped = []
    for step in steps:
        try:
            states = restore(manager, step, like)
        except CheckpointError as error:
            skipped.append(str(error))
            continue
        for later in steps[: len(skipped)]:
            manager.delete(later)
        return Restored(states, step, skipped)
    if steps:
        raise CheckpointError("no checkpoint is usable: " + "; ".join(skipped))
    return None


def restore(manager: ocp.CheckpointManager, step: int, like: Tree) -> Tree:
    """Restore the states of one checkpoint.

    Args:
      manager: manager from `open_manager`.
      step: step of the checkpoint.
      like: tree of arrays or `jax.ShapeDtypeStruct` with the structure, shapes and dtypes of the
        states.

    Returns:
      The states, as a tree of JAX arrays with the structure of `like`.

    Raises:
      CheckpointError: if the checkpoint is missing, unreadable, damaged or of another model.
    """
    host_like = jax.tree.map(_host_template, like)
    wanted = _restore(manager, step, digests=ocp.args.JsonRestore()).digests
    odd = wanted.keys() ^ {keystr(p) for p, _ in tree_leaves_with_path(host_like)}
    if odd:
        raise CheckpointError(f"checkpoint {step} and the model differ in {min(odd)}")
    saved = _restore(manager, step, state=ocp.args.StandardRestore(host_like))
    found = digests(saved.state)
    damaged = [name for name in wanted if wanted[name] != found[name]]
    if damaged:
        raise CheckpointError(f"checkpoint {step} is damaged in {damaged[0]}")
    return jax.tree.map(_like_leaf, like, saved.state)


def _restore(manager, step, **items):
    try:
        return manager.restore(step, args=ocp.args.Composite(**items))
    except (OSError, ValueError, KeyError, TypeError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise CheckpointError(f"checkpoint {step} is unreadable ({first})") from error


def digests(states: Tree) -> dict[str, str]:
    """Compute the sha256 of every leaf of a tree.

    Args:
      states: tree of arrays.

    Returns:
      Path of the leaf -> hexadecimal digest of dtype, shape and bytes.
    """
    result = {}
    for path, leaf in tree_leaves_with_path(_to_host(states)):
        hasher = hashlib.sha256(f"{leaf.dtype}{leaf.shape}".encode())
        hasher.update(np.ascontiguousarray(leaf).data)
        result[keystr(path)] = hasher.hexdigest()
    return result


def _is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(tree):
    def one(leaf):
        return _stored(np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf))

    return jax.tree.map(one, tree)


def _stored(array):
    """Return an array as it is saved: one zero if it is empty, because Orbax refuses that."""
    return array if array.size else np.zeros(1, array.dtype)


def _host_template(leaf):
    data = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return _stored(np.empty(data.shape, data.dtype))


def _like_leaf(like, value):
    if not like.size:
        return jax.numpy.zeros(like.shape, like.dtype)
    return jax.random.wrap_key_data(value) if _is_key(like) else jax.numpy.asarray(value)
