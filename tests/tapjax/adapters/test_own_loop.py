"""Our network in five libraries: the same D as the probe of our own loop, the same weights."""

import jax
import numpy as np
import pytest

from analysis.runs.reader import open_run
from tapjax.live import Recorder
from tapjax.live.snapshots import snapshot_arrays
from tapjax.measure import dimensions
from tapjax.run import loop, replay
from tests.conftest import optimised, tiny
from tests.tapjax.adapters.networks import FRAMEWORKS, array

STEP = 30
LAYERS = {"hidden_0": "fc1", "hidden_1": "fc2", "head": "fc3"}
QUANTITIES = ("participation_ratio", "stable_rank", "nuclear_norm_ratio", "effective_rank_90")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Parameters of a run at a step, the examples of its probe, and what was measured there."""
    cfg, path = tiny.__wrapped__(), tmp_path_factory.mktemp("own") / "run"
    cfg.seeds, cfg.model.name = (0,), "mlp:widths=24-16"
    with optimised():
        loop.run(cfg, path)
        with replay.open_timeline(path) as timeline:
            ((_, state),) = replay.states_at(timeline, [STEP])
            probe = timeline.assembly.data.probe
    run = open_run(path)
    (row,) = np.flatnonzero(run.steps("probe") == STEP)
    measured = {name: run.array("probe", name)[0, row] for name in QUANTITIES}
    params = jax.tree.map(lambda a: np.asarray(a[0]), state.params)
    return params, np.asarray(probe.x).reshape(len(probe.x), -1), measured


@pytest.fixture(scope="module", params=FRAMEWORKS)
def network(request, own):
    params, _, _ = own
    kernels, biases = ([params[n][leaf] for n in LAYERS] for leaf in ("kernel", "bias"))
    return FRAMEWORKS[request.param](kernels, biases)


@pytest.mark.parametrize("measured_by", ["Recorder", "tapjax.measure"])
def test_dimensions_are_those_that_our_own_loop_has_recorded(network, own, measured_by, tmp_path):
    _, x, wanted = own
    layers = network.activations(x)
    if measured_by == "Recorder":
        with Recorder(tmp_path / "run", quiet=True) as record:
            record(0, loss=1.0)
            record.probe(0, layers=layers)
        run = open_run(tmp_path / "run")
        found = {name: run.array("probe", name)[0, 0] for name in QUANTITIES}
    else:
        each = dimensions({name: array(a) for name, a in layers.items()})
        found = {name: [each[layer][name] for layer in layers] for name in QUANTITIES}
    for name in QUANTITIES:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, err_msg=name)


def test_weights_have_the_axes_of_our_own(network, own):
    params, _, _ = own
    found = snapshot_arrays((0,), network.weights(), None, None, None)
    for ours, theirs in LAYERS.items():
        for leaf in ("kernel", "bias"):
            np.testing.assert_array_equal(found[f"weights/{theirs}/{leaf}"][0], params[ours][leaf])
