"""How many inputs tests of hostile input try: few by default, TAPJAX_FUZZ of them when asked."""

import os

import pytest
from hypothesis import HealthCheck, settings


def fuzzing(default: int):
    """The settings of a module's properties, and a mark that lifts its timeout for long tries."""
    tries = int(os.environ.get("TAPJAX_FUZZ", default))
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    profile = settings(
        max_examples=tries, deadline=None, derandomize=True, suppress_health_check=slow
    )
    return profile, pytest.mark.timeout(0 if tries > default else 300)
