"""What works in any training loop; needs only NumPy.

from tapjax.live import Alarms, Monitor, Recorder
"""

from tapjax.live.alarms import Alarms
from tapjax.live.monitor import Monitor
from tapjax.live.recorder import Recorder

__all__ = ["Alarms", "Monitor", "Recorder"]
