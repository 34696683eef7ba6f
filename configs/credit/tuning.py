"""One trial of a quasi-random search for the learning rates of a credit method.

    tapjax sweep --config=configs/credit/tuning.py --workdir=RUNS \
        --grid='method=bp,dfa,kolen_pollack;trial=0,1,2,3,4,5,6,7'

Every method has the same trials: the rate of the blocks is 10^u with u in [-5, -2], and that of the
estimator 10^v with v in [-4, -1]. The points (u, v) are a Halton sequence, so that the first n
trials cover the square for every n. For `kolen_pollack` the second number is the decay. The network
is that of `push.py`, trained for six epochs over 20,000 images and scored on 5,000 others.
"""

from scipy.stats import qmc

from configs import common
from configs.credit import methods, online

REGIME = "skip=0.0,scale=1.0,depth=8"


def get_config(arg=""):
    """Return the config of one trial, with two seeds that are used for nothing else."""
    args = common.parse_arg(
        arg, method="bp", trial=0, dataset="cifar10", epochs=6, train=20000, validation=5000,
        seeds=2, first_seed=100, quick=False,
    )  # fmt: skip
    u, v = qmc.Halton(2, scramble=False).random(args.trial + 2)[-1]  # the first point is (0, 0)
    block_lr, second = 10 ** (3 * u - 5), 10 ** (3 * v - 4)
    which = "decay" if args.method == "kolen_pollack" else "credit_lr"
    config = online.get_config(
        f"{REGIME},method={args.method},dataset={args.dataset},epochs={args.epochs},"
        f"train={args.train},validation={args.validation},seeds={args.seeds},"
        f"first_seed={args.first_seed},block_lr={block_lr:.3g},{which}={second:.3g}"
    )
    return methods.quick(config) if args.quick else config
