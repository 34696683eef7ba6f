"""Training of many runs with one printed line per run, for `launch.sweep` and `launch.tap`."""

from collections.abc import Callable, Sequence

from tapjax.contract.text import printable
from tapjax.sweep.engines import carry_out
from tapjax.sweep.jobs import Job

CTRL_C = "Ctrl-C"  # reason in the result of a run that the user stopped


def train_all(jobs: Sequence[Job], engine: Callable) -> tuple[dict[str, str], bool]:
    """Carry out all jobs and print one line per job.

    A run that fails is noted, and the other runs continue.

    Args:
      jobs: jobs to carry out.
      engine: engine from `tapjax.sweep.engines` that trains the runs.

    Returns:
      (name of each failed run -> reason of the failure, whether a signal stopped the training).

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
