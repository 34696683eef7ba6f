"""What works in any training loop; needs only NumPy.

from tapjax.live import Monitor
"""

from tapjax.live.monitor import Monitor

__all__ = ["Monitor"]
