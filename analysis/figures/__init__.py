"""Figures of the analyses: each function writes a PNG file and returns its path."""

import os

# Agg needs no display. The backend of a notebook that started this process may not be installed.
os.environ["MPLBACKEND"] = "Agg"

import matplotlib  # noqa: E402

matplotlib.use("Agg")
