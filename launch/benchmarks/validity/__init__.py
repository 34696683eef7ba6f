"""Rates of claims on data whose truth is known, one module per area: nulls and planted effects."""
