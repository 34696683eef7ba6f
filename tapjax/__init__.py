"""tapjax: measure what happens inside a network while it trains."""
