"""Limits that the system sets on the memory of this process. The module does not import JAX."""

import os
import resource
from pathlib import Path

from tapjax.config.schema import ConfigError

LEAST = 1_700_000_000  # bytes of address space that JAX and its libraries need to load
COMPILER = 600_000_000  # additional bytes of address space that compilation needs
GROUPS = Path("/sys/fs/cgroup")  # control groups, which limit containers and batch jobs
OWN_GROUPS = Path("/proc/self/cgroup")


def check_addresses() -> None:
    """Refuse to load JAX if its process would be aborted because the address space is too small.

    Raises:
      ConfigError: `ulimit -v` is too low to load JAX and compile a program.
    """
    limit = _address_limit()
    if limit is not None and limit < LEAST + COMPILER:
        raise ConfigError(
            f"ulimit -v lets a process have {limit / 1e9:.3g} GB of addresses, and JAX takes "
            f"{(LEAST + COMPILER) / 1e9:.2g} GB: raise it"
        )


def host_bytes() -> int | None:
    """Return the amount of memory that this process may use.

    It is the smallest of the memory of the machine, the limits of the control groups and the part
    of the address space that is left.

    Returns:
      Bytes; None if no limit is known.
    """
    found = []
    if "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    found += _group_limits()
    limit, pages = _address_limit(), Path("/proc/self/statm")
    if limit is not None and pages.exists():
        taken = int(pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        found.append(max(limit - taken - COMPILER, 0))
    return min(found, default=None)


def _address_limit():
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _group_limits():
    """Return the memory limits in bytes of this process's control groups, version 1 and 2."""
    found = []
    for line in OWN_GROUPS.read_text().splitlines() if OWN_GROUPS.exists() else ():
        _, controllers, place = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = GROUPS / controllers
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        folder = root / place.strip("/")
        for file in (parent / name for parent in (folder, *folder.parents)):
            if file.is_relative_to(root) and file.exists():
                text = file.read_text().strip()
                found += [int(text)] if text.isdigit() else []
    return found
