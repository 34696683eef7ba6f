"""Sequence of tasks, to test whether a network continues to learn as well as it did at first.

    tapjax run --config=configs/plasticity/continual.py:dataset=fashion_mnist \
        --workdir=runs/permuted
    tapjax sweep --config=configs/plasticity/continual.py --workdir=runs/compared \
        --fixed=dataset=fashion_mnist --grid='mitigation=none,l2,cbp,layer_norm'

The kinds of tasks are `permuted` (pixels), `labels` (random), `classes` (some of the data set's
classes in every task, where the head starts from zero unless head=keep) and `single`. `norm`,
`dropout` and `activation` describe the network. `mitigation` names methods that keep the network
learning (see mitigations.py). Each of the `tasks` tasks has `epochs` epochs over the training
images, or `examples` of these images. `raw` leaves pixels in [0, 1]. `online` is permuted MNIST,
one example at a time, with 10,000 examples per task (Dohare et al. 2024,
https://doi.org/10.1038/s41586-024-07711-7).
"""

from configs import common
from configs.plasticity import mitigations

ONLINE = {
    "dataset": "mnist", "arch": "mlp:widths=100-100-100", "init": "kaiming", "batch": 1,
    "optimizer": "sgd", "lr": 0.003, "tasks": 100, "examples": 10_000, "raw": True,
}  # fmt: skip


def get_config(arg=""):
    """Return the config: by default ten tasks of permuted digits for an MLP of five layers."""
    defaults = {
        "kind": "permuted", "dataset": "digits", "arch": "mlp:depth=5,width=128", "init": "torch",
        "norm": "own", "activation": "own", "dropout": -1.0, "tasks": 10, "epochs": 10,
        "examples": 0, "classes": 2, "head": "", "train": 0, "batch": 128, "optimizer": "adam",
        "lr": 1e-3, "decay": 0.0, "mitigation": "none", "raw": False, "one_class": False,
        "probe": 512, "seeds": 5, "online": False, "quick": False,
    }  # fmt: skip
    if common.parse_arg(arg, **defaults).online:
        defaults |= ONLINE
    args = common.parse_arg(arg, **defaults)
    config = common.base(family="plasticity", seeds=tuple(range(args.seeds)))
    config.data.update(
        name=args.dataset, batch_size=args.batch, train_size=args.train, normalise=not args.raw
    )
    config.model.update(name=args.arch, norm=args.norm, activation=args.activation, init=args.init)
    config.model.dropout = args.dropout
    config.optimizer.update(name=args.optimizer, lr=args.lr, weight_decay=args.decay)
    config.tasks.update(kind=args.kind, classes=args.classes)
    config.tasks.head = args.head or ("zero" if args.kind == "classes" else "keep")
    mitigations.use(config, args.mitigation)
    config.probe.update(size=args.probe, one_class=args.one_class)
    _times(config, args)
    return quick(config) if args.quick else config


def _times(config, args):
    """Set the number of steps per task from its examples, with five probes per task."""
    examples = args.train or common.EXAMPLES.get(args.dataset, 50_000)
    if args.kind == "classes":
        examples = examples * args.classes // common.CLASSES.get(args.dataset, 10)
    examples = args.examples or args.epochs * examples
    config.probe.every = max(examples // args.batch // 5, 1)
    config.tasks.steps = config.eval_every = 5 * config.probe.every
    config.steps = args.tasks * config.tasks.steps
    config.scalar_bin = max(config.probe.every // 20, 1)
    while config.probe.every % config.scalar_bin:
        config.scalar_bin -= 1
    config.tasks.matrix = args.tasks <= 20  # the cost grows with the square of the number of tasks
    config.checkpoint.update(every=config.tasks.steps * max(args.tasks // 10, 1), pin_jumps=0)


def quick(config):
    """Shrink a run of tasks to seconds: three tasks of sixty steps.

    Args:
      config: config from `get_config`.

    Returns:
      The same config, changed in place.
    """
    common.quick(config)
    config.seeds, config.steps, config.eval_every = config.seeds[:2], 180, 60
    config.tasks.steps, config.probe.every, config.chunk_steps = 60, 20, 60
    config.scalar_bin = 1
    return config
