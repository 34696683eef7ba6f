"""One trial of a quasi-random search for the learning rates of a credit method.

    tapjax sweep --config=configs/credit/tuning.py --workdir=RUNS \
        --grid='method=bp,dfa,kolen_pollack;trial=0,1,2,3,4,5,6,7'

Every method has the same trials: the rate of the blocks is 10^u with u in [-5, -2], in the
transformer [-3.5, -2], and that of the estimator 10^v with v in [-4, -1]. The points (u, v) are a
Halton sequence, so that the first n trials cover the square for every n. (In the transformer,
backprop does not generalise at block rates below 5e-4.) For `kolen_pollack` the second number is
the decay, except in the transformer, where all methods have the same decay.

The argument `net` selects one of three networks whose blocks have no skip connection, so that the
copied gradient must fail. Each is scored on validation examples of its own:

- `mlp`: eight blocks, CIFAR-10, six epochs over 20,000 images, the network of `push.py`;
- `conv`: convolutional blocks, CIFAR-10 with augmentation, one epoch over 45,000 images;
- `transformer`: four blocks, addition modulo 31, 4,000 steps, see `modular.py`.
"""

from scipy.stats import qmc

from configs import common
from configs.credit import methods, modular, online

MLP = "skip=0.0,scale=1.0,depth=8"
CONV = "net=residual_conv,width=48,depth=3,skip=0.0,scale=1.0,lr=2e-3,net_warmup=50"
TRANSFORMER = "depth=4,skip=0.0,train=70,steps=4000"


def get_config(arg=""):
    """Return the config of one trial, with two seeds that are used for nothing else."""
    args = common.parse_arg(
        arg, method="bp", trial=0, net="mlp", dataset="cifar10", epochs=0, train=0, validation=-1,
        seeds=2, first_seed=100, quick=False,
    )  # fmt: skip
    if args.net not in NETWORKS:
        raise ValueError(f"net={args.net!r} is not one of {', '.join(NETWORKS)}")
    make, validation, low = NETWORKS[args.net]
    args.validation = validation if args.validation < 0 else args.validation
    u, v = qmc.Halton(2, scramble=False).random(args.trial + 2)[-1]  # the first point is (0, 0)
    config = make(args, 10 ** (low + (-2 - low) * u), 10 ** (3 * v - 4))
    return methods.quick(config) if args.quick else config


def _blocks(args, network, epochs, train, block_lr, second):
    which = "decay" if args.method == "kolen_pollack" else "credit_lr"
    return online.get_config(
        f"{network},method={args.method},dataset={args.dataset},epochs={args.epochs or epochs},"
        f"train={args.train or train},validation={args.validation},seeds={args.seeds},"
        f"first_seed={args.first_seed},block_lr={block_lr:.3g},{which}={second:.3g}"
    )


def _mlp(args, *rates):
    return _blocks(args, MLP, 6, 20000, *rates)


def _conv(args, *rates):
    config = _blocks(args, CONV, 1, 50000 - args.validation, *rates)
    config.data.augment, config.optimizer.schedule = True, "cosine"
    return config


def _transformer(args, block_lr, second):
    config = modular.get_config(
        f"{TRANSFORMER},method={args.method},seeds={args.seeds},first_seed={args.first_seed},"
        f"block_lr={block_lr:.3g},credit_lr={second:.3g}"
    )
    config.data.validation_size, config.optimizer.schedule = args.validation, "cosine"
    return config


# Function that makes the config of a trial, default number of validation examples, and logarithm of
# the lowest block rate.
NETWORKS = {
    "mlp": (_mlp, 5000, -5),
    "conv": (_conv, 5000, -5),
    "transformer": (_transformer, 100, -3.5),
}
