"""Tools that measure what happens inside a neural network while it trains."""

__version__ = "0.2.0"
