"""What scripts that train many runs print of them."""

from collections.abc import Callable, Sequence

from tapjax.contract.text import printable
from tapjax.sweep.engines import carry_out
from tapjax.sweep.jobs import Job

CTRL_C = "Ctrl-C"  # the reason of a run that the user stopped


def train_all(jobs: Sequence[Job], engine: Callable) -> tuple[dict[str, str], bool]:
    """Bring jobs to their end; a run that fails is noted, and the rest go on.

    Args:
      jobs: to be done.
      engine: see engines.py.

    Returns:
      (name -> what went wrong, whether a signal asked to stop).

    Raises:
      KeyboardInterrupt: the user stopped a run.
    """
    failed, preempted = {}, False
    for i, result in enumerate(carry_out(jobs, engine), 1):
        line = f"[{i}/{len(jobs)}] {result.name}: {result.status} at step {result.step}"
        print(printable(line), flush=True)
        if result.reason == CTRL_C:
            raise KeyboardInterrupt
        preempted |= result.status == "PREEMPTED"
        if result.status not in ("DONE", "PREEMPTED"):
            failed[result.name] = result.reason
    return failed, preempted
