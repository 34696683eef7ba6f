"""Analysis of saved arrays with NumPy: `from analysis import open_run`."""

from analysis.runs.reader import open_run as open_run
