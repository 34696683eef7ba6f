"""The memory that this process may have is the least that anybody allows."""

import os
import resource

import pytest

from tapjax.run import limits


@pytest.mark.parametrize(
    "group,files,expected",
    [
        ("0::/job/step", {"job/memory.max": "3000", "job/step/memory.max": "max"}, [3000]),
        ("0::/job", {"memory.max": "500", "job/memory.max": "3000"}, [3000, 500]),
        ("4:memory:/job", {"memory/job/memory.limit_in_bytes": "700"}, [700]),
        ("4:cpu:/job", {"cpu/job/memory.limit_in_bytes": "700"}, []),
        ("0::/not/mounted", {"memory.max": "900"}, [900]),
    ],
)
def test_groups_of_both_versions_count(group, files, expected, tmp_path, monkeypatch):
    (tmp_path / "cgroup").write_text(f"{group}\n")
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(f"{text}\n")
    monkeypatch.setattr(limits, "GROUPS", tmp_path / "fs")
    monkeypatch.setattr(limits, "OWN_GROUPS", tmp_path / "cgroup")
    assert limits._group_limits() == expected
    least = min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *expected])
    assert limits.host_bytes() == least


def test_addresses_that_are_taken_are_not_left(monkeypatch):
    limit = 64_000_000_000_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    whole = limits.host_bytes()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**9, 10**9))
    assert whole and limits.host_bytes() <= 10**9 - limits.COMPILER
