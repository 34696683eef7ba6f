"""Abilities that emerge: induction heads, sparse parity, modular addition, a mixture of tasks.

    tapjax run --config=configs/tap/emergence.py:task=parity --workdir=runs/parity
    tapjax run --config=configs/tap/emergence.py:task=parity,control=partial --workdir=runs/control
    tapjax precursors runs/parity --control=runs/control

Each task has a measure of the mechanism that solves it, which is made while the network trains:
`heads` and `head_ablation` (prefix matching of attention heads, accuracy without them), `features`
(correlation of single units with the class) or `fourier` (frequencies of the embedding). In
controls, the ability never comes: with `shuffled`, the targets belong to other examples; with
`partial`, all can be learned but the ability (see `PARTIAL`).

Expected, named before the runs: in at least 18 of 20 seeds the accuracy on repeated tokens rises
from chance to above .9, a head reaches a prefix-matching score of .5 in the same period, and
without the heads of the highest scores the accuracy is below .2. The accuracy of modular addition
on pairs that were not trained passes .9 in at least 18 seeds, while the share of the embedding's
power in its largest frequencies rises. Few signals, if any, warn of an ability relative to partial
controls.

Arguments: `task` (key of `TASKS`), `control` (none, shuffled or partial), `seeds` (number of
seeds), `quick`.
"""

from configs import common
from configs.tap.grokking import TRANSFORMER

# Task -> data, architecture, steps, batch size, learning rate, steps between measurements, and
# measures with the number of measurements of the probe for one of theirs.
TASKS = {
    "induction": (
        "induction:vocab=32,length=32", "decoder:depth=2,width=64,heads=4,mlp=0",
        1000, 32, 2e-3, 5, "heads*2,noise_scale*8,head_ablation*40",
    ),
    "parity": (
        "parity:bits=40,relevant=4", "mlp:depth=1,width=256",
        2000, 128, 1e-3, 10, "features,noise_scale*4,kernel*4,curvature*8",
    ),
    "modular": (
        "modular:p=59,train=25", TRANSFORMER, 5000, 512, 1e-3, 10, "fourier,noise_scale*10",
    ),
    "mixture": (
        "mixture:tasks=8,bits=30,relevant=3", "mlp:depth=1,width=256", 8000, 256, 1e-3, 20,
        "features",
    ),
}  # fmt: skip
CONTROLS = ("none", "shuffled", "partial")
# Task -> how the training of a partial control differs, on the same test examples.
PARTIAL = {
    "induction": "each token after the first period is one of the period at random",
    "parity": "the target is the majority of the relevant bits",
    "modular": "no weight decay, so that the training pairs are memorised only",
}


def get_config(arg=""):
    """Return the config: 20 seeds, Adam, fresh examples at every step (AdamW for `modular`)."""
    args = common.parse_arg(arg, task="induction", control="none", seeds=20, quick=False)
    if args.task not in TASKS:
        raise ValueError(f"task={args.task!r} is not one of {', '.join(TASKS)}")
    if args.control not in CONTROLS:
        raise ValueError(f"control={args.control!r} is not one of {', '.join(CONTROLS)}")
    if args.control == "partial" and args.task not in PARTIAL:
        raise ValueError(f"control=partial is known for {', '.join(PARTIAL)} alone")
    data, arch, steps, batch, lr, every, measures = TASKS[args.task]
    config = common.base(family="tap", seeds=tuple(range(args.seeds)), steps=steps)
    config.data.name = f"{data},shuffled={int(args.control == 'shuffled')}"
    config.data.batch_size = batch
    config.model.update(name=arch, init="lecun")
    config.optimizer.lr = lr
    if args.task == "modular":
        config.model.init = "torch"
        decay = 0.0 if args.control == "partial" else 1.0
        config.optimizer.update(name="adamw", b2=0.98, weight_decay=decay)
    elif args.control == "partial":
        config.data.name += ",partial=1"
    config.probe.update(every=every, size=256, centred=False, measures=measures)
    config.eval_every = 0
    if args.quick:
        config.probe.measures = measures.partition(",")[0]  # the first is compiled in seconds
        return common.quick(config)
    return config
