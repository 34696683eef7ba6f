import numpy as np
import pytest

from analysis.motifs import channels, controls
from analysis.runs.reader import RunError, open_run
from tapjax.contract.layout import write_json
from tests.analysis.made_runs import write_run

POINTS = 400


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    steps = POINTS * 5
    sketch = rng.standard_normal((2, steps, 2, 4)).cumsum(1)
    sketch[:, :, 1] *= 50
    more = {"scalar/sketch": sketch, "scalar/unit_mean": rng.standard_normal((2, steps, 6))}
    made = write_run(tmp_path / "run", 10 + rng.standard_normal((2, POINTS + 1)), **more)
    found = open_run(made)
    write_json(made / "model.json", found.model | {"weight_names": ["small", "large"]})
    return open_run(made)


def test_groups_count_alike_whatever_their_size(run):
    found = channels.recorded(run, "weights")
    assert found.group_D == ["small"] * 4 + ["large"] * 4 and found.own
    moving = channels.moving(found, "increments", 100)
    assert moving.shape == (2, POINTS * 5 - 1, 8)
    size = np.sqrt((moving.var(1)).reshape(2, 2, 4).mean(-1))
    np.testing.assert_allclose(size, 1)
    np.testing.assert_allclose(
        channels.moving(found, "levels", 100).var(1).reshape(2, 2, 4).mean(-1), 1
    )


def test_own_components_and_common_ones(run):
    (own,) = channels.channels([channels.recorded(run, "units")], 3, "increments", 100)
    assert own.values.shape == (2, POINTS * 5 - 1, 3) and len(own.steps) == POINTS * 5 - 1
    assert not np.allclose(own.share[0], own.share[1])
    kind = channels.default_kind(run)
    assert kind == "weights"
    (named,) = channels.channels([channels.recorded(run, "D,D/a")], 8, "levels", 100)
    np.testing.assert_array_equal(named.share[0], named.share[1])


def test_components_are_those_of_the_svd():
    x = np.random.default_rng(2).standard_normal((50, 6)) * [5, 4, 3, 2, 1, 0.5]
    score, share = channels.components(x, 4)
    centred = x - x.mean(0)
    _, size, v = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(share, (size**2 / (size**2).sum())[:4], rtol=1e-10)
    np.testing.assert_allclose(np.abs(score), np.abs(centred @ v[:4].T), atol=1e-10)
    loadings = centred.T @ score
    assert (loadings[np.abs(loadings).argmax(0), range(4)] > 0).all()


def test_trends_and_changes_of_scale_are_taken_out():
    t = np.arange(4000)
    x = (np.sin(t / 3) * (1 + t / 1000) + t / 100)[None, :, None]
    z = channels.steady(x, 500)[0, 300:-300, 0]
    assert abs(z[:1000].std() / z[-1000:].std() - 1) < 0.03
    assert abs(z.mean()) < 0.02
    single = np.eye(3000)[None, :, 1500:1501]
    assert channels.steady(single, 2000).max() == channels.LIMIT


def test_what_cannot_be_mapped_is_refused(run):
    with pytest.raises(RunError, match="has no 'nothing'"):
        channels.recorded(run, "nothing")
    with pytest.raises(RunError, match="names nothing"):
        channels.recorded(run, " , ")
    with pytest.raises(RunError, match="grad_norm never changes"):
        channels.moving(channels.recorded(run, "loss,grad_norm,D")._replace(
            group_D=["x", "grad_norm", "x"]), "increments", 10)  # fmt: skip
    found = channels.recorded(run, "units")
    found.values[0, 3, 2] = np.nan
    with pytest.raises(RunError, match="not finite"):
        channels.moving(found, "levels", 10)
    with pytest.raises(RunError, match="no points between"):
        channels.between(found, 10**6, None)
    a, b = channels.recorded(run, "D"), channels.recorded(run, "D,D/a")
    with pytest.raises(RunError, match="same columns"):
        channels.channels([a, b], 2, "increments", 10)


def test_controls_keep_what_they_say():
    rng, made = np.random.default_rng(3), controls.controls("increments", 100)
    x = rng.standard_normal((1001, 2)).cumsum(0)
    phases = made["random phases"](x, rng)
    np.testing.assert_allclose(
        np.abs(np.fft.rfft(phases, axis=0)), np.abs(np.fft.rfft(x, axis=0)), atol=1e-8
    )
    np.testing.assert_array_equal(np.sort(made["same values"](x, rng), 0), np.sort(x, 0))
    walk = made["random walk"](x, rng)
    np.testing.assert_allclose(np.cov(walk.T), np.cov(x.T), rtol=0.3)
    assert sorted(made["shuffled in time"](x, rng)[:, 0]) == sorted(x[:, 0])
    levels = controls.controls("levels", 100)["random walk"](x, rng)
    assert np.corrcoef(levels[:-1, 0], levels[1:, 0])[0, 1] > 0.8 > 0.1
    assert abs(np.corrcoef(walk[:-1, 0], walk[1:, 0])[0, 1]) < 0.1


def test_a_column_that_others_determine_is_no_component(run):
    (found,) = channels.channels([channels.recorded(run, "D,D/a,D/b")], 8, "levels", 100)
    assert found.values.shape[-1] == 1


def test_points_that_are_not_evenly_spaced_are_refused(run):
    found = channels.recorded(run, "D,D/a")
    uneven = found._replace(steps=np.r_[found.steps[:-1], 10**6])
    with pytest.raises(RunError, match="not evenly spaced"):
        channels.between(uneven, 0, None)
