"""Addition modulo 59, a capability that emerges long after the training pairs are memorised.

    tapjax run --config=configs/tap/grokking.py --workdir=runs/grokking_mlp
    tapjax run --workdir=runs/grokking_transformer \
        --config=configs/tap/grokking.py:arch=transformer:depth=1,width=64,heads=4

On one CPU core with 10 seeds, the MLP takes 200 s. It knows the training pairs by step 160 and half
of the other pairs by step 5460 (medians). The transformer takes 310 s; its steps are 606 and 3225.

Arguments: `arch` (key of `PROTOCOLS`), `seeds` (number of seeds), `easy` (train on half of the
pairs with a higher learning rate for 1000 steps, in which the transformer learns the task),
`quick`.
"""

from configs import common

MLP, TRANSFORMER = "mlp:depth=1,width=256", "transformer:depth=1,width=64,heads=4"
# Architecture -> percentage of all pairs that are trained on, learning rate, steps.
PROTOCOLS = {
    MLP: (40, 2e-3, 10_000),
    TRANSFORMER: (25, 1e-3, 5_000),
}
EASY = (50, 2e-3, 1000)


def get_config(arg=""):
    """Return the config: AdamW with weight decay 1, batch 512, measured every 10 steps."""
    args = common.parse_arg(arg, arch=MLP, seeds=10, easy=False, quick=False)
    if args.arch not in PROTOCOLS:
        raise ValueError(f"config argument arch={args.arch!r} is not one of {list(PROTOCOLS)}")
    train, lr, steps = EASY if args.easy else PROTOCOLS[args.arch]
    config = common.base(family="tap", seeds=tuple(range(args.seeds)), steps=steps)
    config.data.name = f"modular:p=59,train={train}"
    config.data.batch_size = 512
    config.model.name = args.arch
    config.optimizer.update({"name": "adamw", "lr": lr, "b2": 0.98, "weight_decay": 1.0})
    config.probe.update({"every": 10, "centred": False})
    config.eval_every = 0
    return common.quick(config) if args.quick else config
