"""Analysis of recorded runs with NumPy. Start with `from analysis import open_run`."""

from analysis.runs.reader import open_run as open_run
