"""Rates of claims on nulls and planted effects, whose truth is known, one module per area."""
