"""Work that is spread over processes of this machine."""

from collections.abc import Callable, Iterable

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from tapjax.contract.files import RunError

MOST = 8  # processes at most, because each holds its own data


def in_processes(function: Callable, arguments: Iterable, description: str) -> list:
    """Apply a function to arguments, in as many processes as there are cores, at most 8.

    With one core, the function is called in this process.

    Args:
      function: function of one argument. It and its results must be picklable.
      arguments: the arguments, drawn one after another in this process, so that random numbers do
        not depend on the number of processes.
      description: label of the progress bar.

    Returns:
      The results, in the order of the arguments.

    Raises:
      RunError: a process was killed.
    """
    arguments = list(arguments)
    count = min(cpu_count(), MOST, len(arguments) or 1)
    # BLAS has one thread, so that sums are rounded alike whatever the number of processes.
    with parallel_config("loky", n_jobs=count, inner_max_num_threads=1):
        made = Parallel(return_as="generator")(delayed(function)(each) for each in arguments)
        try:
            return list(tqdm(made, desc=description, total=len(arguments), disable=None))
        except TerminatedWorkerError as error:
            raise RunError(
                f"{description}: one of {count} processes was killed, as happens when memory runs "
                "out; LOKY_MAX_CPU_COUNT=1 works in one process"
            ) from error
