"""Readers of JSON and .npz files that may be damaged or malicious.

The readers never unpickle, import or extract anything. A file that cannot be read raises a RunError
that names the file.
"""

import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

# Exceptions that NumPy and zipfile raise for files that are damaged or of another format.
DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    RuntimeError,  # the archive is encrypted or uses an unknown compression
    MemoryError,  # a header declares an array that no machine can hold
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
# Every array may have SMALL bytes; a larger one at most EXPANSION bytes per byte on disk.
SMALL, EXPANSION = 50_000_000, 200
# First bytes of an entry in the directory of a zip archive. A damaged length of one entry can make
# zipfile read the entries after it as its comment, without an error.
ENTRY = b"PK\x01\x02"

# First bytes of files of other formats -> (name of the format, how to make an .npz file from it).
SAVE = "save numpy arrays with numpy.savez(PATH, name=array, ...)"
KINDS = {
    b"\x93NUMPY": ("a single .npy array", "numpy.savez(PATH, name=numpy.load('a.npy'))"),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", f"read it with h5py, then {SAVE}"),
    b"MATLAB": ("a MATLAB file", f"read it with scipy.io.loadmat, then {SAVE}"),
    b"PAR1": ("a Parquet file", f"read it with pandas.read_parquet, then {SAVE}"),
    b"ARROW1": ("a Feather file", f"read it with pandas.read_feather, then {SAVE}"),
    b"SQLite format 3": ("an SQLite database", f"read it with pandas.read_sql, then {SAVE}"),
    b"\x1f\x8b": ("a gzip file", "unpack it first"),
    b"BZh": ("a bzip2 file", "unpack it first"),
    b"\xfd7zXZ": ("an xz file", "unpack it first"),
    b"\x80": ("a pickle", f"it is not opened; {SAVE}"),
}
ENCODINGS = ("utf-8-sig", "latin-1")


class RunError(Exception):
    """Error for a run that cannot be used.

    The message names the file or field and says what to do.
    """


class Fields(dict):
    """JSON object read from a file; reading a missing field raises a RunError."""

    def __init__(self, fields: dict, path: Path):
        super().__init__(fields)
        self._path = path

    def __missing__(self, name):
        raise RunError(f"{self._path} has no field {name!r}")


def read_json(path: Path, types: Mapping[str, type] | None = None) -> Fields:
    """Read the object in a JSON file.

    Args:
      path: path of the file.
      types: required fields, name -> type; None for no required fields.

    Returns:
      The object as `Fields`.

    Raises:
      RunError: if the file is missing or damaged, or if a required field is missing or has another
        type.
    """
    _demand_file(path)
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text, object_hook=lambda fields: Fields(fields, path))
        # This raises an error for lone surrogates (half a character), which cannot be printed.
        json.dumps(found, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} holds no JSON object")
    for name, wanted in (types or {}).items():
        if not isinstance(found[name], wanted) or isinstance(found[name], bool) != (wanted is bool):
            raise RunError(f"{path}: {name} is {found[name]!r}, not of type {wanted.__name__}")
    return found


def read_npz(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict:
    """Read arrays of an .npz file.

    Args:
      path: path of the file.
      wanted: function that decides by the name of an array whether to read it; reads all arrays by
        default.

    Returns:
      Name -> array of numbers, Booleans, text or dates.

    Raises:
      RunError: if the file is missing or damaged, holds pickled objects, or holds an array that is
        far larger than the file.
    """
    return names_and_arrays(path, wanted)[1]


def names_and_arrays(path: Path, wanted: Callable[[str], bool]) -> tuple[set[str], dict]:
    """Read the names of all arrays of an .npz file, and some of the arrays.

    Args:
      path: path of the file.
      wanted: function that decides by the name of an array whether to read it.

    Returns:
      (names of all arrays, name -> array as in `read_npz`).

    Raises:
      RunError: see `read_npz`.
    """
    _demand_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            found = {n: _read(path, archive, member) for n, member in members.items() if wanted(n)}
            return set(members), found
    except zipfile.BadZipFile as error:
        raise RunError(_not_npz(path, error)) from error
    except DAMAGE as error:
        raise RunError(f"{path} is damaged: {error}") from error


def _demand_file(path):
    """Refuse a path that is not a regular file, such as a pipe, which could be read forever."""
    if not path.is_file():
        what = "is no file" if path.exists() else "is missing"
        raise RunError(f"{path} {what}")


def _not_npz(path, error):
    """Describe a file that is not a zip archive and therefore not an .npz file."""
    with open(path, "rb") as file:
        start = file.read(4096)
    if not start:
        return f"{path} is empty"
    if start[:2] == b"PK":
        return f"{path} is damaged: {error}"
    for magic, (what, how) in KINDS.items():
        if start.startswith(magic):
            return f"{path} is {what}, not an .npz: {how}"
    if path.suffix == ".safetensors":
        return f"{path} is a safetensors file, not an .npz: read it with safetensors, then {SAVE}"
    text = _decoded(start)
    if not text.strip():
        damaged = path.suffix == ".npz"
        return f"{path} is damaged: {error}" if damaged else f"{path} is no .npz file: {SAVE}"
    if text.lstrip()[0] in "{[":
        return f"{path} is a JSON file, not an .npz: read it with json.load, then {SAVE}"
    first = text.lstrip().splitlines()[0]
    if "," in first or "\t" in first or ";" in first:
        return f"{path} is a CSV file, not an .npz: read it with pandas.read_csv, then {SAVE}"
    return f"{path} is a text file, not an .npz: {SAVE}"


def _decoded(start):
    """Decode the first bytes of a file as text; return an empty string if they are not text."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return start.decode("utf-16", "ignore")
    for encoding in ENCODINGS:
        try:
            # The part that was read may end in the middle of a character.
            text = start.decode(encoding, "strict" if len(start) < 4096 else "ignore")
        except UnicodeDecodeError:
            continue
        if all(c.isprintable() or c.isspace() for c in text):
            return text
    return ""


def _members(path, archive):
    found = {}
    if any(member.filename.endswith("data.pkl") for member in archive.infolist()):
        raise RunError(
            f"{path} is a PyTorch file, not an .npz: read it with torch.load, then {SAVE}, each "
            "as tensor.numpy()"
        )
    names = [member.filename for member in archive.infolist()]
    if names and not any(name.endswith(".npy") for name in names):
        what = "an Excel file" if "xl/workbook.xml" in names else "a zip archive without arrays"
        how = "read it with pandas.read_excel, then " if "xl/workbook.xml" in names else ""
        raise RunError(f"{path} is {what} ({names[0]!r}, ...), not an .npz: {how}{SAVE}")
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in found:
            what = "twice" if name in found else "which is no array"
            raise RunError(f"{path} is damaged: it holds {member.filename!r} {what}")
        if ENTRY in member.comment + member.extra:
            raise RunError(f"{path} is damaged: the entry of {member.filename!r} hides the next")
        archive.open(member).close()  # raises if the name differs from the name beside the data
        found[name] = member
    return found


def _read(path, archive, member):
    size, packed = member.file_size, max(member.compress_size, 1)
    if size > SMALL and size > EXPANSION * packed:
        raise RunError(f"{path}: {member.filename!r} would grow {size // packed}-fold to {size} B")
    with archive.open(member) as file:
        try:
            array = np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            if "Object arrays" not in str(error):
                raise
            name = member.filename.removesuffix(".npy")
            raise RunError(
                f"{path}: {name!r} holds Python objects, which need pickle and are not read: save "
                f"{name}.astype(str) for names, or an array of numbers"
            ) from error
        if file.read(1):
            raise ValueError(f"{member.filename!r} is longer than its shape says")
    if array.dtype.kind not in "biufcUSMm":
        raise ValueError(f"{member.filename!r} holds {array.dtype}, not numbers")
    return array
