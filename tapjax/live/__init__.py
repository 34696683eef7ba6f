"""What works in any training loop; needs only NumPy.

from tapjax.live import Monitor, Recorder
"""

from tapjax.live.monitor import Monitor
from tapjax.live.recorder import Recorder

__all__ = ["Monitor", "Recorder"]
