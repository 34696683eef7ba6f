"""Estimators of the credit on a network that backprop trained and that stays fixed.

    tapjax sweep --config=configs/credit/frozen.py --workdir=RUNS \
        --grid='method=dfa,dir,state_bridge,scalar_bridge,vector,vector_response'

The network (L = 4, d = 256) trains for `pretrain` epochs by AdamW with a cosine schedule to zero.
Then the estimator is reinitialised and learns for `epochs` epochs on the same images. The gradients
of the trained network are small, so a vector field works in units of the known gradient of the last
hidden state.
"""

from configs import common
from configs.credit import methods


def get_config(arg=""):
    """Return the config: 7 epochs over 40,000 images of CIFAR-10, then 20 of the estimator."""
    args = common.parse_arg(
        arg, method="vector", recipe="notes", dataset="cifar10", depth=4, width=256, skip=1.0,
        scale=0.1, pretrain=7, epochs=20, train=40000, batch=256, credit_lr=1e-3, unit="example",
        seeds=3, first_seed=0, quick=False,
    )  # fmt: skip
    config = common.base(
        family="credit",
        seeds=tuple(range(args.first_seed, args.first_seed + args.seeds)),
        eval_every=0,
    )
    config.data.update(name=args.dataset, batch_size=args.batch)
    config.data.train_size = 0 if args.dataset == "digits" else args.train
    config.model.name = f"residual:depth={args.depth},width={args.width}"
    config.blocks.skip, config.blocks.block_scale = args.skip, args.scale
    per_epoch = (1400 if args.dataset == "digits" else args.train) // args.batch
    config.probe.every = per_epoch
    config.steps = (args.pretrain + args.epochs) * per_epoch
    config.checkpoint.every, config.checkpoint.pin_jumps = config.steps, 0
    config.optimizer.update(name="adamw", lr=1e-3, weight_decay=0.05, schedule="cosine")
    methods.use(config, args.method, args.recipe)
    config.rule.update(name="backprop", freeze_step=args.pretrain * per_epoch, warmup_steps=0)
    config.credit.update(lr=args.credit_lr, unit=args.unit)
    return methods.quick(config) if args.quick else config
