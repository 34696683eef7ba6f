"""Residual MLP that one credit method trains from initialisation.

    tapjax run --config=configs/credit/online.py:method=vector_bilinear --workdir=RUN

The recipe `repaired` uses the raw credits of a block's output. The recipe `notes` is that of the
notes: per-example RMS normalisation, credits of a block's input, and a warm-up by direct feedback.
`change=normalise` takes this one setting from the other recipe. In a network without skip
connections (`skip=0,scale=1`) the copied output gradient must fail. `net=residual_conv,width=32`
has convolutional blocks. To repeat the scans of the notes, vary `depth`, or `code`, `terminal` and
`warmup`, with `recipe=notes,block_lr=1e-3`.
"""

from configs import common
from configs.credit import methods


def get_config(arg=""):
    """Return the config: twelve epochs over 20,000 images of CIFAR-10 by default."""
    args = common.parse_arg(
        arg, method="dir", recipe="repaired", change="", dataset="cifar10", net="residual", depth=4,
        width=256, activation="gelu", alpha=1.0, skip=1.0, scale=0.1, epochs=12, train=20000,
        test=0, validation=0, batch=128, lr=1e-3, block_lr=1e-4, credit_lr=1e-3, decay=0.0,
        seeds=3, first_seed=0, net_warmup=0, code="error", terminal=-1.0, warmup=-1.0,
        unit="", quick=False,
    )  # fmt: skip
    config = common.base(
        family="credit",
        seeds=tuple(range(args.first_seed, args.first_seed + args.seeds)),
        eval_every=0,
    )
    config.data.update(
        name=args.dataset, train_size=args.train, test_size=args.test,
        validation_size=args.validation, batch_size=args.batch,
    )  # fmt: skip
    config.model.name = f"{args.net}:depth={args.depth},width={args.width}"
    config.blocks.update(
        activation=args.activation, alpha=args.alpha, skip=args.skip, block_scale=args.scale
    )
    if args.dataset == "digits":
        config.data.train_size = args.train = min(args.train, 1400)
    per_epoch = args.train // args.batch
    config.probe.every = max(per_epoch // 2, 1)
    config.steps = args.epochs * per_epoch // config.probe.every * config.probe.every
    config.eval_every = config.probe.every * 2
    config.checkpoint.every, config.checkpoint.pin_jumps = 5 * per_epoch, 0
    config.optimizer.warmup_steps = args.net_warmup
    config.optimizer.lr, config.rule.block_lr = args.lr, args.block_lr
    config.credit.lr, config.rule.decay = args.credit_lr, args.decay
    methods.use(config, args.method, args.recipe, args.change)
    config.credit.unit = args.unit or config.credit.unit
    methods.boundary(config, args.code, args.terminal, args.warmup)
    return methods.quick(config) if args.quick else config
