"""Credit methods in a small network without skip connections, on digits: a first experiment.

    tapjax sweep --config=configs/credit/digits.py \
        --grid='method=bp,dfa,dir,vector_response' --workdir=runs/credit

Six blocks without skip connections are trained for ten epochs. There, a credit that is copied from
the output (`dir`) or projected at random (`dfa`) says little about the true gradient, and a field
that is learned from forward-mode derivatives (`vector_response`) says much.
"""

from configs import common
from configs.credit import methods, online

NETWORK = "dataset=digits,skip=0.0,scale=1.0,depth=6,width=64"
RATES = "lr=1e-3,block_lr=3e-4,credit_lr=3e-3"


def get_config(arg=""):
    """Return the config: by default ten epochs with eight seeds."""
    args = common.parse_arg(arg, method="vector_response", epochs=10, seeds=8, quick=False)
    config = online.get_config(
        f"{NETWORK},{RATES},method={args.method},epochs={args.epochs},seeds={args.seeds}"
    )
    config.chunk_steps = config.eval_every  # the whole test split is evaluated at ends of chunks
    return methods.quick(config) if args.quick else config
