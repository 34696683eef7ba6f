"""Analysis of saved arrays with NumPy: `from analysis import open_run`."""

from analysis.io import open_run as open_run
