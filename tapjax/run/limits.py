"""How much memory the system lets this process have. Imports no JAX."""

import os
import resource
from pathlib import Path

from tapjax.config.schema import ConfigError

LEAST = 1_700_000_000  # bytes of addresses that JAX and its libraries take before anything is done
COMPILER = 600_000_000  # and that compiling takes besides
GROUPS = Path("/sys/fs/cgroup")  # control groups, by which containers and batch jobs are limited
OWN_GROUPS = Path("/proc/self/cgroup")


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
    """Bytes that the control groups of this process may have, of version 1 and 2."""
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
