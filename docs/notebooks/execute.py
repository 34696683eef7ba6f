"""Execute the notebooks in an empty folder and store their outputs.

    python docs/notebooks/execute.py [NAME...]

Needs the extra `[notebooks]`. Each notebook is a pair: NAME.py, which people edit, and NAME.ipynb,
which this script writes.
"""

import sys
import tempfile
from pathlib import Path

import jupytext
from nbclient import NotebookClient

HERE = Path(__file__).parent
TIMEOUT = 900  # seconds per cell


def execute(source: Path, folder: Path):
    """Execute one notebook.

    Args:
      source: its Python file.
      folder: working folder of the notebook.

    Returns:
      The notebook with its outputs.

    Raises:
      CellExecutionError: a cell failed.
    """
    notebook = jupytext.read(source)
    NotebookClient(
        notebook, timeout=TIMEOUT, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


if __name__ == "__main__":
    names = sys.argv[1:] or sorted(
        path.stem for path in HERE.glob("*.py") if path.name != Path(__file__).name
    )
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(HERE / f"{name}.py", Path(folder))
        jupytext.write(notebook, HERE / f"{name}.ipynb", fmt="ipynb")
        print(name, (HERE / f"{name}.ipynb").stat().st_size)
