"""Configs, arguments and data files of any content: one error that says what is wrong, or a run.

TAPJAX_FUZZ=2000 python -m pytest tests/tapjax/config/test_hostile.py tries 2000 inputs per
property.
"""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from configs import common
from configs.tap import calibration
from launch.flags import parse_steps
from launch.sweep import combinations
from tapjax.config import schema
from tapjax.config.schema import ConfigError
from tapjax.data.datasets import DataError, load_arrays
from tests.fuzzing import fuzzing

fuzz, pytestmark = fuzzing(100)
FIELDS = sorted({name for family in schema.FAMILIES for name in schema.fields(family)})

texts = st.text(max_size=15) | st.sampled_from(
    ["mlp:depth=99999999999,width=1", "mlp:depth=-1,width=x", "os:system", "../../x.npz", "a\nb"]
)
numbers = st.integers(-(2**70), 2**70) | st.floats()
values = (
    st.none()
    | st.booleans()
    | numbers
    | texts
    | st.lists(numbers, max_size=3).map(tuple)
    | st.dictionaries(texts, numbers, max_size=2)
)


@fuzz
@given(
    st.sampled_from(list(schema.FAMILIES)),
    st.dictionaries(st.sampled_from(FIELDS), values, min_size=1, max_size=3),
)
def test_any_value_of_any_field_is_refused_by_name_or_survives_a_round_trip(family, changes):
    cfg = schema.defaults(family).unlock()
    if family == "credit":
        cfg.model.name = "residual:depth=2,width=8"
    for field, value in changes.items():
        section, _, name = field.rpartition(".")
        if section and section not in cfg:
            cfg[section] = {}
        holder = cfg[section] if section else cfg
        try:
            with holder.ignore_type():
                holder[name] = value
        except ValueError:  # a name with a dot in it does not go into a config at all
            return
    try:
        schema.check(cfg)
    except ConfigError as error:
        assert any(field.rpartition(".")[2] in str(error) for field in changes)
        return
    again = schema.from_json(schema.to_json(cfg))
    assert schema.config_hash(again) == schema.config_hash(cfg)
    assert schema.chunk_steps(cfg) >= cfg.probe.every


@fuzz
@given(st.one_of(values, st.dictionaries(texts | st.sampled_from(FIELDS), values, max_size=4)))
def test_any_json_as_a_config(value):
    try:
        cfg = schema.from_json(value if isinstance(value, dict) else {"optimizer": value})
        schema.check(cfg)
    except ConfigError:
        pass


words = st.sampled_from([*"=,:;|", "arch", "quick", "seeds", "lr", "0:4", "1e-3", "steps"]) | texts


@fuzz
@given(st.lists(words, max_size=8).map("".join))
def test_any_argument_of_a_config_file(text):
    try:
        cfg = calibration.get_config(text)
    except ValueError as error:
        assert str(error)
        return
    common.quick(cfg)


@fuzz
@given(st.lists(words, max_size=8).map("".join))
def test_any_grid_and_any_steps(text):
    try:
        runs = combinations(text)
    except ConfigError as error:
        assert "--grid" in str(error)
    else:
        assert all("/" not in name and name not in ("", ".", "..") for name in runs)
    try:
        assert all(step >= 0 for step in parse_steps(text))
    except ConfigError as error:
        assert "--steps" in str(error)


def any_array():
    dtypes = st.sampled_from(["f4", "f8", "i8", "u1", "u8", "?", "c8", "U3", "f2"])
    return dtypes.flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=5, max_side=6))
    )


@fuzz
@given(st.dictionaries(st.sampled_from(["x", "y", "x_test", "y_test"]), any_array(), max_size=4))
def test_any_arrays_as_data(tmp_path, arrays):
    path = tmp_path / "data.npz"
    good = {"x": np.ones((10, 4), np.float32), "y": np.arange(10) // 5}
    np.savez(path, **(good | arrays))
    try:
        found = load_arrays(str(path))
    except DataError as error:
        assert str(path) in str(error)
        return
    assert found.x.ndim == 4 and len(found.x) == len(found.y) and len(found.y_test)
    assert np.isfinite(found.x.astype(float)).all() and (found.std > 0).all()
    assert 0 <= found.y.min() and found.y.max() < found.classes <= len(found.y) + len(found.y_test)


@fuzz
@given(st.binary(max_size=200))
def test_any_bytes_as_data(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(DataError, match="data.npz is (empty|damaged|.*not an .npz|a pickle)"):
        load_arrays(str(tmp_path / "data.npz"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(", "SyntaxError: '(' was never closed (config.py, line 1)"),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("def get_config(arg=''): return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def get_config(arg=''): return None", "get_config returned None"),
        ("x = 1", "get_config"),
        ("\0\1", ""),
    ],
)
@pytest.mark.parametrize("script", ["run", "sweep"])
def test_any_config_file(tmp_path, script, content, message):
    (tmp_path / "config.py").write_text(content)
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            f"launch.{script}",
            f"--config={tmp_path / 'config.py'}",
            f"--workdir={tmp_path / 'run'}",
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2, result.stderr
    told = [
        line for line in result.stderr.splitlines() if not line.startswith("W")
    ]  # ml_collections
    assert len(told) == 1 and message in told[0]
    assert not (tmp_path / "run").exists()
