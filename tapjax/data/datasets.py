"""Data sets as NumPy arrays: embedded digits, synthetic tasks, prepared TFDS folders or .npz files.

Nothing here imports JAX. Images are decoded once. They are then kept in the cache folder as .npy
files with a sha256 (see cache.py).
"""

import contextlib
import difflib
import hashlib
import io
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tapjax.contract.tasks import DRAWN, is_drawn
from tapjax.data.cache import decoded_once
from tapjax.data.npz import DataError, hold_out_fifth, read_own, standardised
from tapjax.data.synthetic import TASKS, is_task, make_task

# Name -> (mean, standard deviation) of each channel, for values scaled to [0, 1].
NORMALISATION = {
    "digits": ((0.3053,), (0.3761,)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn_cropped": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "tiny_imagenet": ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
}
DIGITS = "datasets/data/digits.csv.gz"  # in the folder of scikit-learn
SPLITS = ("x", "y", "x_test", "y_test")
BYTES = 256  # classes of a text


class Arrays(NamedTuple):
    """One data set on the host.

    `x` [N, height, width, channels] and `y` [N] are the training inputs and their classes. For
    sequences, `x` is [N, Q] (tokens) or [N, Q, D] (vectors), and `y` [N, Q]. `x_test` and `y_test`
    are the test split. `mean` and `std` have one value per channel, in the unit of `x`. `remarks`
    tell the user about guesses and peculiarities of the data. `task` is the `sequences.Task` if
    training draws its examples by it; `x` and `y` are then examples that only measures use.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    mean: np.ndarray
    std: np.ndarray
    remarks: tuple[str, ...] = ()
    task: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and number of channels of one input, or the shape of a sequence."""
        return self.x.shape[1:]


def load_arrays(
    name: str,
    train_size: int = 0,
    test_size: int = 0,
    validation_size: int = 0,
    normalised: bool = True,
    layout: str = "auto",
) -> Arrays:
    """Load a data set by name or path.

    Args:
      name: `digits`; a synthetic task such as `modular:p=59` (see synthetic.py); the name of a
        prepared TFDS data set; or a path ending in `.npz`. An .npz file holds arrays `x`, `y` and
        optionally `x_test`, `y_test`; without a test split, every fifth example of each class is
        held out.
      train_size: maximum number of training examples, a fixed stratified subset; 0 for all.
      test_size: maximum number of test examples, chosen in the same way; 0 for all.
      validation_size: number of stratified training examples that are removed from training and
        replace the test split, which is then not used at all; 0 keeps the test split.
      normalised: whether to scale to mean 0 and variance 1 in every channel of images, or in every
        column of an .npz file's table [N, F], as measured on its training split. Otherwise images
        stay in [0, 1].
      layout: position of the channels of images in an .npz file; see `npz.read_own`.

    Returns:
      Arrays with x as [N, height, width, channels], uint8 or float32, and y as int32. A table with
      F columns is stored as [N, 1, F, 1].

    Raises:
      DataError: if the data is missing or malformed.
    """
    if is_drawn(name):
        return _drawn(name, train_size or validation_size, test_size)
    table, remarks = False, []
    path = Path(name).expanduser()
    if name.endswith(".npz") or (path.suffix and path.is_file()):
        raw, table, remarks = read_own(path, layout)
    elif name == "digits":
        raw = _read_digits()
    elif is_task(name):
        raw = _read_task(name)
    else:
        raw = _read_tfds(name)
    x, y, x_test, y_test = raw
    classes = BYTES if name.startswith("text:") else int(max(y.max(), y_test.max())) + 1
    if validation_size:
        if validation_size >= len(y):
            raise DataError(f"data.validation_size={validation_size}: {name} has {len(y)} examples")
        held = np.isin(np.arange(len(y)), stratified_indices(y, validation_size))
        x, x_test, y, y_test = x[~held], np.asarray(x)[held], y[~held], y[held]
    x, y = _subset(x, y, train_size, "train_size", remarks)
    x_test, y_test = _subset(x_test, y_test, test_size, "test_size", remarks)
    if table and normalised:
        x, x_test, said = standardised(x, x_test)
        remarks += said
    x, x_test = (a.astype(np.float32) if a.dtype == np.float64 else a for a in (x, x_test))
    if name.endswith(".npz") and not normalised and x.dtype != np.uint8 and x.max() > 1:
        remarks.append(f"x has values up to {x.max():.4g}: data.normalise=False leaves them so")
    mean, std = _normalisation(name, x, normalised, as_is=is_task(name) or (table and normalised))
    return Arrays(name, x, y, x_test, y_test, classes, mean, std, tuple(remarks))


def _drawn(name, sized, test_size):
    """Return the fixed examples of a task whose training examples are drawn at every step."""
    from tapjax.data import sequences  # imports JAX

    kind = name.partition(":")[0]
    if sized:
        raise DataError(
            f"data.train_size and data.validation_size are not for {kind}, which draws new "
            "training examples at every step"
        )
    try:
        task = sequences.make_drawn(name)
    except ValueError as error:
        raise DataError(f"data.name: {name!r}: {error}") from error
    x, y, x_test, y_test = sequences.fixed_examples(task)
    remarks = []
    if test_size > len(y_test):
        remarks.append(f"data.test_size={test_size}: {len(y_test)} examples are drawn")
    test_size = test_size or len(y_test)
    scale = np.zeros(1, np.float32), np.ones(1, np.float32)
    return Arrays(
        name,
        x,
        y,
        x_test[:test_size],
        y_test[:test_size],
        task.classes,
        *scale,
        tuple(remarks),
        task,
    )


def digests(arrays: Arrays) -> dict[str, str]:
    """Compute the sha256 of each of the four arrays of a data set.

    Args:
      arrays: a data set.

    Returns:
      Array name (`x`, `y`, `x_test`, `y_test`) -> hexadecimal digest of shape, dtype and bytes.
    """
    result = {}
    for split in SPLITS:
        array = np.ascontiguousarray(getattr(arrays, split))
        hasher = hashlib.sha256(f"{array.shape}{array.dtype}".encode())
        hasher.update(array.data)
        result[split] = hasher.hexdigest()
    return result


def stratified_indices(y: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Choose a random subset in which every class keeps its share.

    Args:
      y: classes [N], or targets of sequences [N, Q], which have no classes to share.
      n: number of examples to choose, at most N.
      seed: seed of the random choice.

    Returns:
      Sorted indices [n].
    """
    if y.ndim > 1:
        y = np.zeros(len(y), int)
    rng = np.random.default_rng(seed)
    quantile = np.empty(len(y))
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        ranks = rng.permutation(len(members))
        quantile[members] = (ranks + rng.uniform()) / len(members)
    return np.sort(np.argsort(quantile, kind="stable")[:n])


def _subset(x, y, size, field, remarks):
    if size > len(y):
        remarks.append(f"data.{field}={size}: there are {len(y)} examples, all are taken")
    if not size or size >= len(y):
        return x, y
    keep = stratified_indices(y, size)
    return np.asarray(x)[keep], y[keep]


def _normalisation(name, x, normalised, as_is):
    if as_is:
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    top = 16.0 if name == "digits" else 255.0 if x.dtype == np.uint8 else 1.0
    if not normalised:
        return np.zeros(x.shape[-1], np.float32), np.full(x.shape[-1], top, np.float32)
    if name in NORMALISATION:
        mean, std = (top * np.asarray(c) for c in NORMALISATION[name])
    else:
        mean, std = x.mean((0, 1, 2), dtype=np.float64), x.std((0, 1, 2), dtype=np.float64)
        std = np.where(std > 0, std, 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def _read_digits():
    # Importing scikit-learn takes a second, so only its file is read.
    (folder,) = find_spec("sklearn").submodule_search_locations
    rows = np.loadtxt(Path(folder) / DIGITS, np.uint8, delimiter=",")
    return hold_out_fifth(rows[:, :-1].reshape(-1, 8, 8, 1), rows[:, -1].astype(np.int32))


def _read_task(name):
    try:
        return make_task(name)
    except ValueError as error:
        raise DataError(f"data.name: {error}") from error


def tfds_dir() -> Path:
    """Return the folder of prepared TFDS data sets: `TFDS_DATA_DIR` or ~/tensorflow_datasets."""
    home = os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets"
    return Path(home).expanduser()


def _read_tfds(name):
    root = tfds_dir()
    versions = sorted((root / name).glob("*/dataset_info.json"))
    if not versions:
        known = ("digits", *TASKS, *DRAWN, *NORMALISATION, *_prepared(root))
        near = difflib.get_close_matches(name.partition(":")[0], known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near and near[0] != name else ""
        raise DataError(
            f"data set {name!r} is not in {root}.{hint} Set TFDS_DATA_DIR to the folder that has "
            f"it; or prepare it: pip install 'tapjax[prepare]' && python -c \"import "
            f"tensorflow_datasets as tfds; tfds.builder('{name}', file_format='array_record')"
            f'.download_and_prepare()"; or give an .npz file with arrays x and y'
        )
    prepared = versions[-1].parent
    listing = [(p.name, p.stat().st_size) for p in sorted(prepared.iterdir())]
    key = hashlib.sha256(repr((listing, versions[-1].read_text())).encode()).hexdigest()[:16]
    return _cached(f"{name}-{prepared.name}-{key}", lambda: _decode(prepared, name))


def _cached(name, decode):
    arrays = decoded_once(name, lambda: dict(zip(SPLITS, decode(), strict=True)))
    return [arrays[split] for split in SPLITS]


def _prepared(root):
    return [p.parent.parent.name for p in root.glob("*/*/dataset_info.json")]


def _decode(prepared, name):
    with _quiet_stderr():
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(str(prepared))
        test_split = "test" if "test" in builder.info.splits else "validation"
        mode = {1: "L", 3: "RGB"}[builder.info.features["image"].shape[-1]]
        arrays = []
        for split in ("train", test_split):
            try:
                source = builder.as_data_source(
                    split=split, decoders={"image": tfds.decode.SkipDecoding()}
                )
            except NotImplementedError as error:
                raise DataError(
                    f"data set {name!r} in {prepared} is stored as TFRECORD: prepare it again "
                    "with file_format='array_record'"
                ) from error
            images, labels = [], []
            for start in range(0, len(source), 5000):
                examples = source.__getitems__(list(range(start, min(len(source), start + 5000))))
                images += [_pixels(e["image"], mode) for e in examples]
                labels += [e["label"] for e in examples]
            sizes = {image.shape for image in images}
            if len(sizes) > 1:
                raise DataError(f"data set {name!r} has images of {len(sizes)} different sizes")
            arrays += [np.stack(images), np.asarray(labels, np.int32)]
    return arrays


def _pixels(encoded, mode):
    """Decode an image to uint8 [H, W, C]; a grey image of a colour data set becomes RGB."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


@contextlib.contextmanager
def _quiet_stderr():
    """Hide the harmless C++ messages of the readers; exceptions are raised as usual."""
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
