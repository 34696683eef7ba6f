"""Slowly changing regression: five hidden units learn online, one example at a time.

    tapjax run --config=configs/plasticity/bits.py --workdir=runs/bits

An input is 20 bits and a constant. 15 of the bits do not change for 10,000 examples. Then all 15
are drawn again, as in the code behind the published figure. With `flips=one`, one of them flips
instead, as the published text describes. The target is a random network of 100 threshold units.
`width=0` is a linear learner. Expected and measured: at learning rate .01 the error of a ReLU
network rises from .65 to 1.32 (published: .62 to 1.25); at .001 it falls to .69 and then rises to
.87 (published: .72 to .87). The run takes two minutes on one core.
"""

from configs import common
from configs.plasticity import mitigations


def get_config(arg=""):
    """Return the config: a million examples for each of 30 seeds by default."""
    args = common.parse_arg(
        arg, width=5, activation="relu", optimizer="sgd", lr=0.01, decay=0.0, examples=1_000_000,
        period=10_000, flips="all", mitigation="none", seeds=30, quick=False,
    )  # fmt: skip
    if args.quick:
        args.examples, args.period, args.seeds = 6_000, 2_000, 2
    config = common.base(
        family="plasticity", seeds=tuple(range(args.seeds)), loss="regression", eval_every=0
    )
    config.data.update(name="bits:inputs=21", batch_size=1, test_size=0)
    config.model.update(name=f"mlp:widths={args.width or 1}", init="kaiming")
    config.model.activation = args.activation if args.width else "none"
    config.optimizer.update(name=args.optimizer, lr=args.lr, weight_decay=args.decay)
    mitigations.use(config, args.mitigation)
    config.tasks.update(kind="bits", flips=args.flips, steps=args.period, slow=15, matrix=False)
    config.steps = args.examples
    config.probe.every, config.scalar_bin = args.period // 2, args.period // 20
    config.probe.update(size=512, gradients=0)
    config.chunk_steps = args.period
    config.checkpoint.update(every=args.examples // 10, pin_jumps=0)
    return config
