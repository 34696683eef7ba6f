"""Network and a clone of twice its width, to test whether the clone ever uses its new units.

    tapjax run --config=configs/plasticity/cloning.py --workdir=runs/clone
    tapjax run --config=configs/plasticity/cloning.py:mitigation=dropout \
        --workdir=runs/dropout

The base trains for `before` epochs and is then cloned. Both networks continue for `after` epochs on
the same batches. Expected: under SGD and Adam the cloned units stay clones (cloning_loss is 0, and
the hard rank is that of the base). The mitigations dropout, noise, noisy_step (noise at a single
step), noise_fading and cbp separate them. `track` corrects SGD's learning rates so that the clone
follows its base exactly. arch=mlp:widths=128-64,factor=1 is a network of that width that is trained
from scratch.
"""

from configs import common
from configs.plasticity import mitigations


def get_config(arg=""):
    """Return the config: by default an MLP of 64 and 32 units on MNIST with five seeds."""
    args = common.parse_arg(
        arg, dataset="mnist", arch="mlp:widths=64-32", norm="own", activation="own",
        factor=2, times=1, before=5, after=15, optimizer="sgd", lr=0.1, mitigation="none",
        track=False, train=0, batch=128, seeds=5, quick=False,
    )  # fmt: skip
    config = common.base(family="plasticity", seeds=tuple(range(args.seeds)))
    config.data.update(name=args.dataset, batch_size=args.batch, train_size=args.train)
    config.model.update(name=args.arch, norm=args.norm, activation=args.activation)
    config.optimizer.update(name=args.optimizer, lr=args.lr)
    config.model.dropout = 0.0
    mitigations.use(config, args.mitigation)
    epoch = max((args.train or common.EXAMPLES.get(args.dataset, 50_000)) // args.batch, 1)
    if args.quick:
        args.before, args.after, epoch = 1, 2, 60
    config.probe.every = max(epoch // 3, 1)
    epoch = 3 * config.probe.every
    config.clone.update(factor=args.factor, times=args.times, track=args.track)
    config.clone.step = args.before * epoch
    config.steps = (args.times * args.before + args.after) * epoch
    config.eval_every, config.checkpoint.every = epoch, 5 * epoch
    config.checkpoint.pin_jumps = 0
    return common.quick(config) if args.quick else config
