"""Linear-quadratic control, to test whether an estimator finds the costate of a linear system.

    tapjax run --config=configs/credit/lq.py:method=state_bridge --workdir=RUN

The known linear system takes eight steps of h + A_l h + noise in eight dimensions, with the cost
|h_L - y|^2 / 2. Gamma is the cosine with the true costate. `scale` is the scale of A. At .17, as in
the notes, the copied gradient alone has a costate cosine of .95, which leaves hardly any room for
the estimators; at .4 it has less. With `terminal=0` the scalar bridge is not fitted to the known
gradient at the last step.
"""

from configs import common
from configs.credit import methods


def get_config(arg=""):
    """Return the config: 3000 steps with batches of 64 by default."""
    args = common.parse_arg(
        arg, method="scalar_bridge", code="error", scale=0.17, noise=0.2, constant=False,
        value=0.01, terminal=1.0, steps=3000, seeds=3, first_seed=0, quick=False,
    )  # fmt: skip
    config = common.base(
        family="credit",
        seeds=tuple(range(args.first_seed, args.first_seed + args.seeds)),
        steps=args.steps,
        eval_every=0,
    )
    config.data.update(name="lq:width=8", batch_size=64, shuffle="replacement")
    config.model.name = "dynamics:depth=8,width=8"
    config.blocks.update(block_scale=args.scale, noise=args.noise, constant=args.constant)
    config.probe.every, config.probe.size = 100, 1024
    config.checkpoint.every, config.checkpoint.pin_jumps = args.steps, 0
    methods.use(config, args.method, "notes")
    config.rule.warmup_steps = 0
    config.credit.update(width=64, lr=3e-3, schedule="cosine", code=args.code)
    config.credit.update(value=args.value, terminal=args.terminal)
    return methods.quick(config) if args.quick else config
