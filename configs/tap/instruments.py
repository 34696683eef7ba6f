"""Three networks in which all measures are made: two classifiers and a transformer that groks.

    tapjax run --config=configs/tap/instruments.py:net=mlp --workdir=runs/mlp
    tapjax measure --run=runs/mlp --measures=curvature,llc,barrier --steps=0:2001:250
    tapjax atlas runs/mlp

The measures that are cheap are made while the network trains. docs/results/instruments shows what
they say, and what each of them costs.

Arguments: `net` (`mlp` or `cnn` on fashion_mnist, `transformer` on addition modulo 59), `seeds`
(number of seeds), `quick`.
"""

from configs import common
from configs.tap import calibration, grokking

# Network -> steps, steps between two measurements, architecture.
NETWORKS = {
    "mlp": (2000, 5, "mlp_medium_5"),
    "cnn": (1000, 5, "cnn:channels=8-16"),
    "transformer": (5000, 10, grokking.TRANSFORMER),
}
# Measure -> number of its measurements in a run.
LIVE = {
    "noise_scale": 40,
    "collapse": 40,
    "intrinsic_dimension": 40,
    "examples": 20,
    "kernel": 10,
    "representation": 20,
    "weight_spectrum": 20,
}


def get_config(arg=""):
    """Return the config, with the cheap measures."""
    args = common.parse_arg(arg, net="mlp", seeds=3, quick=False)
    if args.net not in NETWORKS:
        raise ValueError(f"net={args.net!r} is not one of {', '.join(NETWORKS)}")
    steps, every, arch = NETWORKS[args.net]
    if args.net == "transformer":
        config = grokking.get_config(f"arch={arch},seeds={args.seeds}")
    else:
        config = calibration.get_config(
            f"arch={arch},dataset=fashion_mnist,seeds={args.seeds},steps={steps}"
        )
    config.probe.every = every
    if args.quick:
        config = common.quick(config)
    total = config.steps // config.probe.every
    periods = {name: max(total // count, 1) for name, count in LIVE.items()}
    config.probe.measures = ",".join(f"{name}*{period}" for name, period in periods.items())
    config.checkpoint.keep_period = max(total // 8, 1) * config.probe.every
    return config
