"""One network of each family, measured every 5 steps, to be examined around its jumps.

    tapjax run --config=configs/mechanistic/families.py:family=cnn --workdir=runs/cnn
    tapjax replay --run=runs/cnn --moments
    tapjax mechanistic runs/cnn --out=out/mechanistic

Arguments: `family` (key of `ARCHITECTURES`), `dataset`, `seeds` (number of seeds), `steps`, `plant`
(reinitialise a head, a channel or a unit after two thirds of training), `quick`.
"""

from configs import common
from configs.tap import calibration
from tapjax.contract.text import did_you_mean

# Family -> architecture, and the layer and the unit that `plant` reinitialises.
ARCHITECTURES = {
    "transformer": ("transformer:depth=2,width=64,heads=4", "block_1_attention", 2),
    "cnn": ("cnn:channels=16-32", "conv_1", 5),
    "mlp": ("mlp_medium_5", "hidden_2", 7),
}


def get_config(arg=""):
    """Return the calibration protocol with 3000 steps.

    This is long enough for ordinary pairs of states before and after a critical step.
    """
    args = common.parse_arg(
        arg, family="mlp", dataset="digits", seeds=3, steps=3000, plant=False, quick=False
    )
    if args.family not in ARCHITECTURES:
        raise ValueError(
            f"family={args.family!r} is not one of {', '.join(ARCHITECTURES)}"
            + did_you_mean(args.family, ARCHITECTURES)
        )
    arch, layer, unit = ARCHITECTURES[args.family]
    config = calibration.get_config(
        f"dataset={args.dataset},seeds={args.seeds},steps={args.steps},arch={arch}"
    )
    if args.quick:
        common.quick(config)
    if args.plant:
        every = config.probe.every
        config.reset.step = config.steps * 2 // 3 // every * every
        config.reset.layer, config.reset.unit = layer, unit
    return config
