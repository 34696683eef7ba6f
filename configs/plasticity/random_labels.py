"""Random labels, drawn anew again and again: a small network soon learns less and less.

    tapjax sweep --config=configs/plasticity/random_labels.py \
        --grid='mitigation=none,cbp' --workdir=runs/tasks

Each of 30 tasks draws new labels for the same 256 digits, which a network has to memorise in 160
steps (Lyle et al. 2023, https://arxiv.org/abs/2303.01486). Measured with six seeds: the online
accuracy of plain training falls from .42 to .12, and four of five units are dead at the end. With
continual backprop it is .38 at the end, with layer normalisation .33. The tasks are short;
therefore continual backprop resets units ten times as often as in the other configs.
"""

from configs import common
from configs.plasticity import continual

TASKS = "kind=labels,train=256,batch=32,epochs=20,arch=mlp:widths=64-64,probe=128"


def get_config(arg=""):
    """Return the config: by default 30 tasks for an MLP of two layers, with six seeds."""
    args = common.parse_arg(arg, mitigation="none", tasks=30, lr=3e-3, seeds=6, quick=False)
    config = continual.get_config(
        f"{TASKS},tasks={args.tasks},lr={args.lr},seeds={args.seeds},mitigation={args.mitigation}"
    )
    if config.renewal.name == "cbp":
        config.renewal.update(rate=1e-3, maturity=20)
    return continual.quick(config) if args.quick else config
