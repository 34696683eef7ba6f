"""Analysis of saved arrays with NumPy: `from analysis import open_run`."""
