"""Abilities that emerge: induction heads, sparse parity, modular addition, a mixture of tasks.

    tapjax run --config=configs/tap/emergence.py:task=induction --workdir=runs/induction
    tapjax run --config=configs/tap/emergence.py:task=induction,control --workdir=runs/control
    tapjax emergence runs/induction

Each task has a measure of the mechanism that solves it, which is made while the network trains:
`heads` and `head_ablation` (prefix matching of attention heads, accuracy without them), `features`
(correlation of single units with the class) or `fourier` (frequencies of the embedding). In a
control, the targets belong to other examples, so that the ability never comes.

Expected, named before the runs: in at least 18 of 20 seeds the accuracy on repeated tokens rises
from chance to above .9, a head reaches a prefix-matching score of .5 in the same period, and
without the heads of the highest scores the accuracy is below .2.

Arguments: `task` (key of `TASKS`), `control`, `seeds` (number of seeds), `quick`.
"""

from configs import common
from configs.tap.grokking import TRANSFORMER

# Task -> data, architecture, steps, batch size, learning rate, steps between measurements, and
# measures with the number of measurements of the probe for one of theirs.
TASKS = {
    "induction": (
        "induction:vocab=32,length=32", "decoder:depth=2,width=64,heads=4,mlp=0",
        1000, 32, 2e-3, 5, "heads*2,head_ablation*40",
    ),
    "parity": (
        "parity:bits=40,relevant=4", "mlp:depth=1,width=256", 2000, 128, 1e-3, 10, "features",
    ),
    "modular": ("modular:p=59,train=25", TRANSFORMER, 5000, 512, 1e-3, 10, "fourier"),
    "mixture": (
        "mixture:tasks=8,bits=30,relevant=3", "mlp:depth=1,width=256", 8000, 256, 1e-3, 20,
        "features",
    ),
}  # fmt: skip


def get_config(arg=""):
    """Return the config: 20 seeds, Adam, fresh examples at every step (AdamW for `modular`)."""
    args = common.parse_arg(arg, task="induction", control=False, seeds=20, quick=False)
    if args.task not in TASKS:
        raise ValueError(f"task={args.task!r} is not one of {', '.join(TASKS)}")
    data, arch, steps, batch, lr, every, measures = TASKS[args.task]
    config = common.base(family="tap", seeds=tuple(range(args.seeds)), steps=steps)
    config.data.name = f"{data},shuffled={int(args.control)}"
    config.data.batch_size = batch
    config.model.update(name=arch, init="lecun")
    config.optimizer.lr = lr
    if args.task == "modular":
        config.model.init = "torch"
        config.optimizer.update(name="adamw", b2=0.98, weight_decay=1.0)
    config.probe.update(every=every, size=256, centred=False, measures=measures)
    config.eval_every = 0
    return common.quick(config) if args.quick else config
