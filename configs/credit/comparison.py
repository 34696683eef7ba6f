"""Comparison of all credit methods at learning rates that were searched for in the same way.

    tapjax sweep --config=configs/credit/comparison.py --workdir=RUNS \
        --grid='method=bp,kolen_pollack,weight_mirror,vector_response'
    tapjax credit RUNS --against=kolen_pollack,weight_mirror

Every method has the rates of the best of six trials of `tuning.py`. The network is that of
`push.py`, where the copied gradient must fail: eight blocks without skip connections. It is trained
for ten epochs over 20,000 images, with eight seeds that were used for nothing else.

The outcome was specified before the runs: the test accuracy after the last epoch, seed by seed, of
`vector_response` minus that of `kolen_pollack` and that of `weight_mirror`. The q-values are those
of sign-flip tests, corrected over all methods that were run.
"""

from configs import common
from configs.credit import tuning

# The trial of `tuning.py` with the highest validation accuracy.
BEST = {
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
}


def get_config(arg=""):
    """Return the config of a method at its best rates."""
    args = common.parse_arg(
        arg, method="vector_response", epochs=10, train=20000, seeds=8, first_seed=200, quick=False
    )  # fmt: skip
    if args.method not in BEST:
        raise ValueError(f"method={args.method!r} has no tuned rates; {', '.join(BEST)} have")
    quick = ",quick" if args.quick else ""
    return tuning.get_config(
        f"method={args.method},trial={BEST[args.method]},epochs={args.epochs},"
        f"train={args.train},validation=0,seeds={args.seeds},first_seed={args.first_seed}{quick}"
    )
