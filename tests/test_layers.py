"""The architecture as a test: imports go one way, and each library has its place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the top of the tree down; a module imports only from those before it.
ORDER = [
    "tapjax.constraints",
    "tapjax.config",
    "tapjax.limits",
    "tapjax.cache",
    "tapjax.tasks",
    "tapjax.npz",
    "tapjax.data",
    "tapjax.types",
    "tapjax.sampling",
    "tapjax.losses",
    "tapjax.models.layers",
    "tapjax.models.style",
    "tapjax.models.mlp",
    "tapjax.models.cnn",
    "tapjax.models.resnet",
    "tapjax.models.transformer",
    "tapjax.models.vit",
    "tapjax.models.residual",
    "tapjax.models.perceptron",
    "tapjax.models.wiring",
    "tapjax.models.zoo",
    "tapjax.cloning",
    "tapjax.streams",
    "tapjax.rules",
    "tapjax.credit.forward",
    "tapjax.credit.directions",
    "tapjax.credit.estimator",
    "tapjax.credit.fields",
    "tapjax.credit.fixed",
    "tapjax.credit.state_bridge",
    "tapjax.credit.scalar_bridge",
    "tapjax.credit.vector_field",
    "tapjax.credit",
    "tapjax.local",
    "tapjax.mitigations",
    "tapjax.optimizers",
    "tapjax.forgetting",
    "tapjax.renewal",
    "tapjax.step",
    "tapjax.transitions",
    "tapjax.spectra",
    "tapjax.forward",
    "tapjax.probes",
    "tapjax.units",
    "tapjax.unit_probe",
    "tapjax.arms",
    "tapjax.continual",
    "tapjax.recording",
    "tapjax.credit_probe",
    "tapjax.identity",
    "tapjax.blocks",
    "tapjax.environment",
    "tapjax.programs",
    "tapjax.lease",
    "tapjax.rundir",
    "tapjax.checkpoint",
    "tapjax.preemption",
    "tapjax.experiments.tap",
    "tapjax.experiments.motifs",
    "tapjax.experiments.plasticity",
    "tapjax.experiments.credit",
    "tapjax.experiments",
    "tapjax.manifest",
    "tapjax.assembly",
    "tapjax.memory",
    "tapjax.disk",
    "tapjax.jumps",
    "tapjax.replay",
    "tapjax.pins",
    "tapjax.snapshots",
    "tapjax.records",
    "tapjax.loop",
    "tapjax.jobs",
    "tapjax.engines",
]
# What both sides share: the run directory's contract, the description of architectures.
FROM_ANALYSIS = {
    "analysis.architectures",
    "analysis.files",
    "analysis.layout",
    "analysis.jumps",
}
PLACES = {"flax": "tapjax/models/", "orbax": "tapjax/checkpoint.py"}


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


def test_every_module_has_its_place_in_the_order():
    names = {module_name(p) for p in sources("tapjax")} - {"tapjax", "tapjax.models"}
    assert names == set(ORDER)


@pytest.mark.parametrize("path", sources("tapjax"), ids=module_name)
def test_tapjax_imports_only_from_above(path):
    name = module_name(path)
    used = {m for m in imports(path) if m in ORDER}
    before = set(ORDER[: ORDER.index(name)]) if name in ORDER else set()
    assert used <= before | {name}
    outside = {m for m in imports(path) if m.split(".")[0] in ("analysis", "launch", "configs")}
    assert all(any(m.startswith(a) for a in FROM_ANALYSIS) for m in outside)


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
IN_PLACE = {"tapjax/lease.py", "tapjax/rundir.py", "tapjax/jobs.py", "analysis/layout.py"}


def test_files_are_written_whole():
    for path in sources("tapjax", "analysis", "launch", "configs"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if type(node) is ast.Call]
        methods = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
        opened = [c for c in calls if getattr(c.func, "id", "") == "open" and len(c.args) > 1]
        written = [c for c in opened if set(getattr(c.args[1], "value", "w")) & set("wax+")]
        assert not methods & {"write_text", "write_bytes"}, path  # of pathlib
        assert not written or str(path.relative_to(ROOT)) in IN_PLACE, path


@pytest.mark.parametrize(
    "module", ["analysis", "analysis.__main__", "tapjax.config", "tapjax.data"]
)
def test_importing_does_not_import_jax(module):
    code = f"import {module}, sys; assert not {{'jax', 'flax', 'tensorflow'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_analysis_does_not_import_tapjax():
    for path in sources("analysis"):
        assert not any(m.split(".")[0] in ("tapjax", "launch", "configs") for m in imports(path))
