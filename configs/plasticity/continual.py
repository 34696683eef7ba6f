"""Task after task: does a network go on learning as well as it did at first?

    python -m launch.run --config=configs/plasticity/continual.py:dataset=fashion_mnist \
        --workdir=runs/permuted

Kinds of tasks: `permuted` pixels, random `labels`, `classes` (some of the data set's in every
task, the head starting from zero unless head=keep), and `single`. `norm`, `dropout` and
`activation` are those of the network; `tasks` times `epochs` over the training images.
"""

from configs import common


def get_config(arg=""):
    """Ten tasks of permuted digits by an MLP of five layers."""
    args = common.parse_arg(
        arg, kind="permuted", dataset="digits", arch="mlp:depth=5,width=128", norm="own",
        activation="own", dropout=-1.0, tasks=10, epochs=10, classes=2, head="", train=0, batch=128,
        optimizer="adam", lr=1e-3, decay=0.0, seeds=5, quick=False,
    )  # fmt: skip
    config = common.base(family="plasticity", seeds=tuple(range(args.seeds)))
    config.data.update(name=args.dataset, batch_size=args.batch, train_size=args.train)
    config.model.update(name=args.arch, norm=args.norm, activation=args.activation)
    config.model.dropout = args.dropout
    config.optimizer.update(name=args.optimizer, lr=args.lr, weight_decay=args.decay)
    config.tasks.update(kind=args.kind, classes=args.classes)
    config.tasks.head = args.head or ("zero" if args.kind == "classes" else "keep")
    config.checkpoint.pin_jumps = 0
    examples = args.train or common.EXAMPLES.get(args.dataset, 50_000)
    if args.kind == "classes":
        examples = examples * args.classes // common.CLASSES.get(args.dataset, 10)
    per_epoch = max(examples // args.batch, 1)
    config.probe.every = max(per_epoch * args.epochs // 5, 1)
    config.tasks.steps = config.eval_every = 5 * config.probe.every
    config.steps = args.tasks * config.tasks.steps
    config.checkpoint.every = config.tasks.steps
    return quick(config) if args.quick else config


def quick(config):
    """Shrink a run of tasks to seconds: three tasks of sixty steps."""
    common.quick(config)
    config.seeds, config.steps, config.eval_every = config.seeds[:2], 180, 60
    config.tasks.steps, config.probe.every, config.chunk_steps = 60, 20, 60
    return config
