"""Does a learned credit earn its cost where copying the output's gradient must fail?

    python -m launch.sweep --config=configs/credit/push.py --workdir=RUNS \
        --grid='method=bp,dfa,dir,vector_response,response_shuffled'

Eight blocks without a skip connection: in a network that backprop trains the copied gradient has
Gamma 0.00 in every layer (at most .4 was asked for; measured before any accuracy was looked at). 30
epochs, three seeds that no tuning has seen. Every method has its own rates, the best of six
settings on 5,000 validation images after six epochs over 20,000, seed 100.

The outcome, named beforehand: test accuracy after the last epoch of `vector_response` less that of
`dir`, and of `dfa`, seed by seed; and its share of backprop's. Two protocols, in this order:
`train=20000,first_seed=0`, in which whatever learns well soon overfits; and, named after that was
seen and before it was run, `train=50000,first_seed=10`.
"""

from configs import common
from configs.credit import online

# Block rate and estimator rate.
RATES = {
    "bp": (3e-4, 1e-3),
    "dfa": (1e-4, 1e-3),
    "dir": (1e-4, 1e-3),
    "state_bridge": (1e-4, 1e-3),
    "scalar_bridge": (1e-4, 1e-3),
    "vector": (1e-4, 1e-3),
    "vector_bilinear": (1e-4, 3e-3),
    "vector_response": (1e-4, 3e-3),
    "response_shuffled": (1e-4, 3e-3),
}
REGIME = "skip=0.0,scale=1.0,depth=8"


def get_config(arg=""):
    """The regime without skip connections, each method at its own rates."""
    args = common.parse_arg(
        arg, method="vector_response", dataset="cifar10", epochs=30, train=50000, seeds=3,
        first_seed=10, quick=False,
    )  # fmt: skip
    if args.method not in RATES:
        raise ValueError(f"method={args.method!r} has no tuned rates; {', '.join(RATES)} have")
    block_lr, credit_lr = RATES[args.method]
    quick = ",quick" if args.quick else ""
    return online.get_config(
        f"{REGIME},method={args.method},dataset={args.dataset},epochs={args.epochs},"
        f"train={args.train},seeds={args.seeds},first_seed={args.first_seed},"
        f"block_lr={block_lr},credit_lr={credit_lr}{quick}"
    )
