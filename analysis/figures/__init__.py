"""Figures: one function each, which writes a PNG and returns its path."""

import matplotlib

matplotlib.use("Agg")  # needs no display
