"""Small MLP on fashion_mnist, with a record of each of its 46,900 steps.

    tapjax run --config=configs/motifs/mlp_fashion.py --workdir=runs/fashion

The run is the published one (784-256-256-10, Adam at 3e-4, batches of 128, 100 epochs), except that
the cross entropy receives logits and that the images are normalised. Each step records the norms of
weights, gradients, updates and Adam's moments, a sketch of every weight matrix, the losses of fixed
test images by class and the means of all units. A replay can recover any step in full. `drive` in
(0, 1) makes the learning rate a chaotic signal, a known cause on which `tapjax edm` can
be tested.

    tapjax run --config=configs/motifs/mlp_fashion.py:quick --workdir=runs/driven
    tapjax edm runs/driven --variables=lr,probe_loss --start=300 --out=out/edm

`quick` trains six seeds of a small MLP on digits for 1500 steps, with `drive=0.5`. These two
commands take 20 and 28 seconds on one core of an AMD EPYC, and find that the learning rate drives
the loss.
"""

from configs import common


def get_config(arg=""):
    """Return the config: by default three seeds (six if quick), and D measured every ten steps."""
    args = common.parse_arg(
        arg, dataset="fashion_mnist", arch="mlp:widths=256-256", optimizer="adam", lr=3e-4,
        batch=128, steps=46_900, every=10, drive=0.0, seeds=0, quick=False,
    )  # fmt: skip
    seeds = args.seeds or (6 if args.quick else 3)
    config = common.base(family="motifs", seeds=tuple(range(seeds)), steps=args.steps)
    config.data.update(name=args.dataset, batch_size=args.batch)
    config.model.name = args.arch
    config.optimizer.update(name=args.optimizer, lr=args.lr, drive=args.drive)
    config.probe.update(every=args.every, size=256)
    config.eval_every = 500
    config.checkpoint.update(every=1000, keep_period=1000)
    if args.quick:
        common.quick(config)
        config.data.name, config.data.batch_size = "digits", 32
        config.model.name = "mlp:widths=16-16"
        config.steps, config.optimizer.drive = min(args.steps, 1500), args.drive or 0.5
    return config
