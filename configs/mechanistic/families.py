"""One network of each family, measured every 5 steps, to be examined around its jumps.

    tapjax run --config=configs/mechanistic/families.py:quick --workdir=runs/planted
    tapjax replay --run=runs/planted --moments
    tapjax mechanistic runs/planted --out=out/mechanistic

Arguments: `family` (key of `ARCHITECTURES`), `dataset`, `seeds` (number of seeds), `steps`, `plant`
(reinitialise a head, a channel or a unit after two thirds of training), and `quick`: 800 steps of a
small convolutional network in which channel 2 of the second layer is reinitialised at step 640.
The three commands take 30, 17 and 8 seconds on one core of an AMD EPYC and name this channel.
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
        return _quick(config)
    if args.plant:
        every = config.probe.every
        config.reset.step = config.steps * 2 // 3 // every * every
        config.reset.layer, config.reset.unit = layer, unit
    return config


def _quick(config):
    """Shrink the protocol to a minute, and plant a change that the comparison finds."""
    config = common.quick(config)
    config.model.name, config.over_seeds = "cnn:channels=4-8", "loop"
    config.steps, config.chunk_steps, config.eval_every = 800, 80, 80
    config.data.batch_size = 32
    config.probe.every, config.probe.size = 2, 128
    config.checkpoint.every, config.checkpoint.pin_window = 80, 10
    config.reset.step, config.reset.layer, config.reset.unit = 640, "conv_1", 2
    return config
