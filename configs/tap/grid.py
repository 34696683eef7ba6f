"""Designed grid of 60 architectures of three families under one protocol.

Command (one cell; `tapjax tap --grid --datasets=fashion_mnist` runs them all):
    tapjax run --config=configs/tap/grid.py:arch=mlp:depth=4,width=64 --workdir=runs/cell

On two CPU cores, a cell with three seeds takes from 5 s (mlp:depth=1,width=16) to 5 min (the widest
CNN). Expected: D(t) has a U-shape in every MLP, and the accuracy is .80 to .86 after 1000 steps.

The arguments are those of `calibration.py`.
"""

from configs.tap import calibration

DEPTHS, WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16), (16, 32, 64, 128, 256, 512)
CHANNELS = ("8", "16", "32", "8-16", "16-32", "8-16-32", "16-32-64", "8-16-32-64")
ENCODERS = ((1, 32), (2, 32), (4, 32), (1, 64))
ARCHITECTURES = (
    *(f"mlp:depth={depth},width={width}" for depth in DEPTHS for width in WIDTHS),
    *(f"cnn:channels={channels}" for channels in CHANNELS),
    *(f"transformer:depth={depth},width={width},heads=4" for depth, width in ENCODERS),
)


def get_config(arg=""):
    """Return the calibration protocol on fashion_mnist; 1000 steps cover the whole U-shape."""
    return calibration.get_config(",".join(filter(None, ("dataset=fashion_mnist,steps=1000", arg))))
