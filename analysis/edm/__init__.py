"""Empirical dynamic modelling: forecasts and causal tests from the geometry of recorded states."""

from analysis.edm.crossmap import ccm, cross_map, cross_maps
from analysis.edm.embedding import delays, rows
from analysis.edm.forecast import Forecast, skill
from analysis.edm.multiview import multiview
from analysis.edm.s_map import smap, smaps
from analysis.edm.select import embed_dimension, predict_interval, predict_nonlinear
from analysis.edm.simplex_projection import simplex

__all__ = [
    "Forecast",
    "ccm",
    "cross_map",
    "cross_maps",
    "delays",
    "embed_dimension",
    "multiview",
    "predict_interval",
    "predict_nonlinear",
    "rows",
    "simplex",
    "skill",
    "smap",
    "smaps",
]
