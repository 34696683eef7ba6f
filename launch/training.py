"""Training of many runs with one printed line per run, for `launch.sweep` and `launch.tap`."""

import functools
from collections.abc import Callable, Sequence

from absl import flags

from tapjax.contract.text import printable
from tapjax.sweep.engines import carry_out, local
from tapjax.sweep.jobs import DEFAULT_POLICY, Job, Policy
from tapjax.sweep.pool import default_processes, processes

define_processes = functools.partial(
    flags.DEFINE_integer, "processes", 0,
    "Number of runs to train at the same time on this machine; 0 for one per core, up to 4, and "
    "for one on accelerators.",
    lower_bound=0,
)  # fmt: skip
CTRL_C = "Ctrl-C"  # reason in the result of a run that the user stopped


def here(jobs: Sequence[Job], count: int, policy: Policy = DEFAULT_POLICY) -> Callable:
    """Return the engine that trains jobs on this machine.

    Args:
      jobs: jobs to carry out.
      count: value of the flag --processes.
      policy: how to resume existing runs.

    Returns:
      An engine from `tapjax.sweep`.
    """
    count = min(count or default_processes(), len(jobs))
    return processes(count, policy) if count > 1 else local(policy)


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
