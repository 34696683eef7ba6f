"""Student and teacher of the same depth, from linear (alpha 0) to tanh (alpha 1).

    tapjax sweep --config=configs/credit/ladder.py --workdir=RUNS \
        --grid='method=dfa,dir,state_bridge,scalar_bridge;alpha=0,0.25,0.5,1;depth=2,4,8,12'

The methods `vector`, `vector_shuffled`, `vector_no_terminal` and `vector_onesided` give the pilot
and the audit of the vector field. The arguments `code`, `terminal` and `warmup` give the ablation
of the boundary condition. The recipe is that of the notes unless `recipe=repaired` is given.
"""

from configs import common
from configs.credit import methods


def get_config(arg=""):
    """Return the config: by default 60 epochs over 10,240 examples, batches of 128, width 128."""
    args = common.parse_arg(
        arg, method="scalar_bridge", recipe="notes", alpha=1.0, depth=4, width=128, train=10240,
        epochs=60, block_lr=1e-4, credit_lr=1e-3, code="error", terminal=-1.0, warmup=-1.0,
        unit="", directions=4, seeds=3, first_seed=0, quick=False,
    )  # fmt: skip
    config = common.base(
        family="credit",
        seeds=tuple(range(args.first_seed, args.first_seed + args.seeds)),
        eval_every=0,
    )
    teacher = f"alpha={args.alpha},depth={args.depth},width={args.width},train={args.train}"
    config.data.update(name=f"teacher:{teacher}", batch_size=128)
    config.model.name = f"residual:depth={args.depth},width={args.width}"
    config.blocks.update(activation="tanh", alpha=args.alpha, embed=False)
    config.probe.every = args.train // 128
    config.steps = args.epochs * config.probe.every
    config.checkpoint.every, config.checkpoint.pin_jumps = config.steps, 0
    config.rule.block_lr = args.block_lr
    methods.use(config, args.method, args.recipe)
    config.credit.update(width=128, lr=args.credit_lr, directions=args.directions)
    config.credit.unit = args.unit or config.credit.unit
    methods.boundary(config, args.code, args.terminal, args.warmup)
    return methods.quick(config) if args.quick else config
