"""Comparison of all credit methods at learning rates that were searched for in the same way.

    tapjax sweep --config=configs/credit/comparison.py --workdir=RUNS \
        --grid='method=bp,kolen_pollack,weight_mirror,vector_response'
    tapjax credit RUNS --against=kolen_pollack,weight_mirror

Every method has the rates of the best of six trials of `tuning.py`, and eight seeds that were used
for nothing else. The copied gradient must fail: no block has a skip connection. The network `mlp`,
that of `push.py` with eight blocks, is trained for ten epochs over 20,000 images. With
`net=transformer`, four blocks learn addition modulo 31 in 4,000 steps.

The outcome was specified before the runs: the test accuracy at the end, seed by seed, of
`vector_response` minus that of `kolen_pollack` and that of `weight_mirror`. The q-values are those
of sign-flip tests, corrected over all methods that were run. In the transformer, where accuracies
reach 1, the second outcome is the step at which the test accuracy first reaches .9.
"""

from configs import common
from configs.credit import tuning

# The trial of `tuning.py` with the highest validation accuracy at the end, by network. Of several,
# the one with the highest mean over training.
BEST_MLP = {
    "bp": 0,
    "dfa": 5,
    "dir": 5,
    "feedback_alignment": 0,
    "kolen_pollack": 0,
    "weight_mirror": 4,
    "sign_symmetry": 0,
    "vector_response": 1,
    "state_bridge": 1,
    "learned_dfa": 3,
    "local_loss": 5,
    "local_forward_gradient": 5,
    "forward_gradient": 1,
    "target_propagation": 1,
    "pepita": 3,
    "drtp": 0,
    "vector": 3,
    "vector_bilinear": 3,
}
BEST_TRANSFORMER = {
    "bp": 4,
    "kolen_pollack": 2,
    "weight_mirror": 4,
    "sign_symmetry": 4,
    "vector_response": 2,
    "dir": 4,
}
BEST = {"mlp": BEST_MLP, "transformer": BEST_TRANSFORMER}


def get_config(arg=""):
    """Return the config of a method at its best rates."""
    args = common.parse_arg(
        arg, method="vector_response", net="mlp", epochs=10, train=20000, seeds=8, first_seed=200,
        quick=False,
    )  # fmt: skip
    if args.net not in BEST:
        raise ValueError(f"net={args.net!r} is not one of {', '.join(BEST)}")
    if args.method not in BEST[args.net]:
        known = ", ".join(BEST[args.net])
        raise ValueError(f"method={args.method!r} has no tuned rates; {known} have")
    quick = ",quick" if args.quick else ""
    return tuning.get_config(
        f"method={args.method},trial={BEST[args.net][args.method]},net={args.net},"
        f"epochs={args.epochs},train={args.train},validation=0,seeds={args.seeds},"
        f"first_seed={args.first_seed}{quick}"
    )
