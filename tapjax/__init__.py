"""tapjax: measure what happens inside a network while it trains."""

__version__ = "0.2.0"
