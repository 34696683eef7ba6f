"""Figures: one function each, which writes a PNG and returns its path."""

import os

# Needs no display; and the backend of a notebook that started this process may not be installed.
os.environ["MPLBACKEND"] = "Agg"

import matplotlib  # noqa: E402

matplotlib.use("Agg")
