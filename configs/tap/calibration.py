"""Dimensionality D(t) of one architecture on one data set, measured every 5 steps.

    tapjax run --config=configs/tap/calibration.py:arch=mlp_wide,dataset=fashion_mnist \
        --workdir=runs/mlp_wide

On two CPU cores, mlp_medium_5 on fashion_mnist with 3 seeds and 2000 steps takes 20 s. D falls from
12.3 at initialisation to 3.8 near step 35 and recovers to 9.7. Test accuracy is .847 (sd .005).

Arguments: `arch` (an architecture of the zoo, or one with sizes such as `mlp:depth=6,width=96`),
`dataset`, `seeds` (number of seeds), `steps`, `lr`, `quick`.
"""

from configs import common
from tapjax.data.synthetic import is_task


def get_config(arg=""):
    """Return the calibration protocol: Adam 1e-3, batch 64, 10,000 fixed images of a TFDS set."""
    args = common.parse_arg(
        arg, arch="mlp_medium_5", dataset="digits", seeds=3, steps=2000, lr=1e-3, quick=False
    )
    config = common.base(family="tap", seeds=tuple(range(args.seeds)), steps=args.steps)
    config.data.name = args.dataset
    if args.dataset != "digits" and not is_task(args.dataset) and ".npz" not in args.dataset:
        config.data.train_size = 10_000
    config.model.name = args.arch
    config.optimizer.lr = args.lr
    return common.quick(config) if args.quick else config
