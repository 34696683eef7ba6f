"""The architecture as a test: imports go one way, and each library has its place."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Rooms from the ground up: a module imports from its own room and from rooms that stand before it.
TAPJAX = (
    "contract",
    "types",
    "live",
    "config",
    "data",
    "step",
    "store",
    "models",
    "measure",
    "credit",
    "plasticity",
    "recipes",
    "run",
    "sweep",
    "adapters",
)
ANALYSIS = (
    "runs",
    "statistics",
    "tap",
    "mechanistic",
    "credit",
    "plasticity",
    "edm",
    "motifs",
    "live",
    "figures",
    "report",
    "commands",
    "__main__",
)
ROOMS = [f"tapjax.{room}" for room in TAPJAX] + [f"analysis.{room}" for room in ANALYSIS]
# Of tapjax, the analysis imports what needs NumPy alone.
NUMPY_ONLY = ("tapjax.contract", "tapjax.live")
PLACES = {
    "flax": ("tapjax/models/", "tapjax/adapters/"),
    "orbax": ("tapjax/store/checkpoint.py", "tapjax/adapters/checkpoints.py"),
}


def sources(*folders):
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name):
    """The room of a module: `tapjax.step` of `tapjax.step.blocks`; "" of a package's front door."""
    return ".".join(name.split(".")[:2]) if "." in name else ""


def rooms_used(path):
    return {room(m) for m in imports(path) if m.split(".")[0] in ("tapjax", "analysis")} - {""}


def test_every_room_is_a_package():
    """Without __init__.py a folder is left out of the wheel."""
    folders = {path.parent for path in sources("tapjax", "analysis", "launch", "configs", "tests")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_every_module_lies_in_a_room():
    found = {room(module_name(p)) for p in sources("tapjax", "analysis")} - {""}
    assert found == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_import_only_from_rooms_before_them(name):
    before = set(ROOMS[: ROOMS.index(name) + 1])
    if name.startswith("analysis"):
        before &= {*NUMPY_ONLY, *(room for room in ROOMS if room.startswith("analysis"))}
    for path in sources("tapjax", "analysis"):
        if room(module_name(path)) == name:
            assert rooms_used(path) <= before, path


@pytest.mark.parametrize("folder", ["tapjax", "analysis"])
def test_packages_import_no_script(folder):
    for path in sources(folder):
        assert not {m.split(".")[0] for m in imports(path)} & {"launch", "configs", "tests"}, path


def test_no_module_imports_a_private_name_of_another():
    for path in sources("tapjax", "analysis", "launch", "configs"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                private = [a.name for a in node.names if a.name[0] == "_" != a.name[-1]]
                assert not private, path


@pytest.mark.parametrize("library", PLACES)
def test_libraries_stay_in_their_place(library):
    users = [
        p
        for p in sources("tapjax", "launch", "configs", "analysis")
        if any(m.split(".")[0] == library for m in imports(p))
    ]
    assert users
    assert all(str(p.relative_to(ROOT)).startswith(PLACES[library]) for p in users)


def test_nothing_is_pickled():
    for path in sources("tapjax", "analysis", "launch", "configs"):
        assert "pickle" not in {m.split(".")[0] for m in imports(path)}
        assert "allow_pickle=True" not in path.read_text()


# Written in place: by appending, or held open for as long as a process lives.
IN_PLACE = {
    "tapjax/contract/lease.py",
    "tapjax/store/rundir.py",
    "tapjax/sweep/jobs.py",
    "tapjax/contract/layout.py",
}


def test_files_are_written_whole():
    for path in sources("tapjax", "analysis", "launch", "configs"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if type(node) is ast.Call]
        methods = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
        opened = [c for c in calls if getattr(c.func, "id", "") == "open" and len(c.args) > 1]
        written = [c for c in opened if set(getattr(c.args[1], "value", "w")) & set("wax+")]
        assert not methods & {"write_text", "write_bytes"}, path  # of pathlib
        assert not written or str(path.relative_to(ROOT)) in IN_PLACE, path


@pytest.mark.parametrize(
    "module",
    [
        "tapjax",
        "tapjax.live.monitor",
        "tapjax.contract.detector",
        "tapjax.config.schema",
        "tapjax.data.datasets",
        "analysis",
        "analysis.__main__",
    ],
)
def test_importing_does_not_import_jax(module):
    code = f"import {module}, sys; assert not {{'jax', 'flax', 'tensorflow'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", NUMPY_ONLY)
def test_what_both_sides_share_needs_numpy_alone(name):
    modules = [module_name(p) for p in sources("tapjax") if room(module_name(p)) == name]
    heavy = "{'scipy', 'pandas', 'jax'}"
    code = f"import {', '.join(modules)}, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def edges():
    """Which room imports which, without what follows from other edges."""
    uses = {name: set() for name in ROOMS}
    for path in sources("tapjax", "analysis"):
        if room(module_name(path)):
            uses[room(module_name(path))] |= rooms_used(path) & set(ROOMS)
    reach = {}
    for name in ROOMS:  # from the ground up
        reach[name] = set().union(*({used} | reach[used] for used in uses[name] - {name}))
    return sorted(
        (used, name)
        for name in ROOMS
        for used in uses[name] - {name}
        if not any(used in reach[other] for other in uses[name] - {name})
    )


def test_the_picture_of_the_rooms_shows_their_imports():
    page = (ROOT / "docs" / "architecture.md").read_text()
    picture = page.partition("```mermaid")[2].partition("```")[0]
    drawn = re.findall(r"^ *([\w.]+)(?:\[[^\]]*\])? --> ([\w.]+)", picture, re.MULTILINE)
    assert sorted(drawn) == edges(), "\n".join(f"    {a} --> {b}" for a, b in edges())
    assert all(f"| `{name}` |" in page for name in ROOMS)
