"""How much memory the system lets this process have. Imports no JAX."""

import os
import resource
from pathlib import Path

from tapjax.config import ConfigError

LEAST = 1_700_000_000  # bytes of addresses that JAX and its libraries take before anything is done
COMPILER = 600_000_000  # and that compiling takes besides
GROUP = Path("/sys/fs/cgroup/memory.max")  # of a container or a batch job


def check_addresses() -> None:
    """Refuse to load JAX where it would be aborted for want of addresses.

    Raises:
      ConfigError: `ulimit -v` is too low for anything.
    """
    limit = _address_limit()
    if limit is not None and limit < LEAST + COMPILER:
        raise ConfigError(
            f"ulimit -v lets a process have {limit / 1e9:.3g} GB of addresses, and JAX takes "
            f"{(LEAST + COMPILER) / 1e9:.2g} GB: raise it"
        )


def host_bytes() -> int | None:
    """The memory that this process may have: of the machine, its group, and its addresses.

    Returns:
      Bytes; None if nobody says.
    """
    found = []
    if "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if GROUP.exists() and GROUP.read_text().strip().isdigit():
        found.append(int(GROUP.read_text()))
    limit, pages = _address_limit(), Path("/proc/self/statm")
    if limit is not None and pages.exists():
        taken = int(pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        found.append(max(limit - taken - COMPILER, 0))
    return min(found, default=None)


def _address_limit():
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit
