"""Small transformer in residual blocks on addition modulo 31, trained by one credit method.

    tapjax sweep --config=configs/credit/modular.py --workdir=RUNS \
        --grid='method=bp,dfa,kolen_pollack,vector_response'

The two operands are the tokens, and 80 % of all pairs are the training split. Blocks have no skip
connection to copy a gradient through if `skip=0`. AdamW with a weight decay of 1 lets backprop
generalise within a few thousand steps; Kolen-Pollack feedback shares this decay.
"""

from configs import common
from configs.credit import methods, online


def get_config(arg=""):
    """Return the config: two blocks of width 64 and four heads, 6,000 steps of batches of 128."""
    args = common.parse_arg(
        arg, method="vector_response", depth=2, width=64, skip=1.0, p=31, train=80, lr=1e-3,
        block_lr=1e-3, credit_lr=3e-3, decay=1.0, steps=6000, seeds=3, first_seed=0, quick=False,
    )  # fmt: skip
    config = online.get_config(
        f"method={args.method},net=residual_transformer,depth={args.depth},width={args.width},"
        f"skip={args.skip},scale=1.0,lr={args.lr},block_lr={args.block_lr},credit_lr={args.credit_lr},"
        f"seeds={args.seeds},first_seed={args.first_seed}"
    )
    config.data.name, config.data.train_size = f"modular:p={args.p},train={args.train}", 0
    config.steps, config.probe.every, config.eval_every = args.steps, 100, 500
    config.checkpoint.every = args.steps
    config.optimizer.update(name="adamw", weight_decay=args.decay)
    return methods.quick(config) if args.quick else config
