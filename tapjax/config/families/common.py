"""Fields of every run."""

from tapjax.config.fields import (
    ABOVE_ZERO,
    ANY,
    ARCHITECTURE,
    BELOW_ONE,
    IMPORT_PATH,
    SWITCH,
    Check,
    Field,
    at_least,
    one_of,
    own_or_share,
)
from tapjax.contract.layout import DIMENSIONS

MOST_SEEDS = 10_000
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "gelu", "elu", "selu", "crelu", "none")


def _seeds_fault(seeds):
    if not 0 < len(seeds) <= MOST_SEEDS:
        return f"must be one to {MOST_SEEDS} seeds, not {len(seeds)}; a sweep takes more"
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        return "must be different integers from 0 to 2**32 - 1"
    return ""


SEEDS = Check(f"one to {MOST_SEEDS} different integers from 0 to 2**32 - 1", _seeds_fault)

RUN = {
    "family": Field(
        "tap",
        one_of("tap", "credit", "plasticity", "motifs"),
        "Family of experiments; decides what is trained, measured and recorded.",
    ),
    "seeds": Field((0, 1, 2), SEEDS, "Random seeds; one program trains a network for each."),
    "steps": Field(2000, at_least(1), "Training steps; a multiple of probe.every."),
    "former_steps": Field(
        (), ANY, "Lengths from which the run was extended. --extend sets it; leave it alone."
    ),
    "eval_every": Field(
        500,
        at_least(0),
        "Steps between evaluations of the whole test split, which happen at ends of chunks only; 0 "
        "evaluates at the end only.",
    ),
    "chunk_steps": Field(
        0,
        at_least(0),
        "Steps per compiled call; a multiple of probe.every; 0 chooses by the architecture.",
    ),
    "over_seeds": Field(
        "auto",
        one_of("auto", "vmap", "map", "loop", "shard"),
        "How the seeds run: in one batched program (vmap), one after another inside the program "
        "(map) or outside of it (loop), or one per device (shard); auto chooses.",
    ),
    "scalar_bin": Field(
        1, at_least(1), "Steps averaged into one recorded scalar; divides probe.every."
    ),
    "loss": Field(
        "cross_entropy",
        one_of("cross_entropy", "squared_error", "regression", or_import_path=True),
        "Loss per example; regression, the squared error of one output, is for tasks.kind=bits.",
    ),
}
DATA = {
    "data.name": Field(
        "digits",
        ANY,
        "Data set: digits, a prepared TFDS data set, a synthetic task such as modular:p=59, or a "
        "path to an .npz file.",
    ),
    "data.batch_size": Field(64, at_least(1), "Examples per training step."),
    "data.train_size": Field(
        0, at_least(0), "Maximum number of training examples, a fixed stratified subset; 0 for all."
    ),
    "data.test_size": Field(0, at_least(0), "Maximum number of test examples; 0 for all."),
    "data.validation_size": Field(
        0,
        at_least(0),
        "Training examples that are held out and used in place of the test split; 0 keeps the test "
        "split.",
    ),
    "data.shuffle": Field(
        "epoch",
        one_of("epoch", "replacement"),
        "epoch visits every example once per epoch in a new order; replacement draws each batch "
        "independently.",
    ),
    "data.augment": Field(
        False, SWITCH, "Shift images by up to 4 pixels and flip them horizontally."
    ),
    "data.normalise": Field(
        True,
        SWITCH,
        "Normalise each channel of images or each column of a table; otherwise pixels stay in "
        "[0, 1].",
    ),
    "data.layout": Field(
        "auto",
        one_of("auto", "channels_first", "channels_last"),
        "Position of the channels of images in an .npz file.",
    ),
}
MODEL = {
    "model.name": Field("mlp_medium_5", ARCHITECTURE, "Architecture."),
    "model.init": Field(
        "torch",
        one_of("lecun", "torch", "kaiming", "small"),
        "Initialisation of the weights; torch is PyTorch's default.",
    ),
    "model.activation": Field(
        "own",
        one_of("own", *ACTIVATIONS),
        "Activation function; own keeps that of the architecture.",
    ),
    "model.norm": Field(
        "own",
        one_of("own", "none", "batch", "layer", "group", "instance"),
        "Normalisation layers; own keeps those of the architecture.",
    ),
    "model.affine": Field(True, SWITCH, "Give normalisation layers a learned scale and shift."),
    "model.norm_after": Field(
        False, SWITCH, "Normalise after the activation function instead of before it."
    ),
    "model.dropout": Field(
        -1.0, own_or_share("the architecture's own"), "Share of activations that are dropped."
    ),
}
OPTIMIZER = {
    "optimizer.name": Field(
        "adam", one_of("adam", "adamw", "sgd", "momentum", "rmsprop"), "Optimizer."
    ),
    "optimizer.lr": Field(
        1e-3, ABOVE_ZERO, "Learning rate after the warm-up and before any decay."
    ),
    "optimizer.schedule": Field(
        "constant",
        one_of("constant", "cosine", "linear"),
        "Decay of the learning rate to 0 over the run. It counts the updates since the optimizer "
        "was initialised: tasks.reset and tasks.reset_optimizer restart it, cloning does not.",
    ),
    "optimizer.warmup_steps": Field(
        0, at_least(0), "Steps over which the learning rate first rises from 0; less than steps."
    ),
    "optimizer.b1": Field(0.9, BELOW_ONE, "Decay of Adam's mean of gradients."),
    "optimizer.b2": Field(0.999, BELOW_ONE, "Decay of Adam's mean of squared gradients."),
    "optimizer.momentum": Field(
        -1.0,
        own_or_share("the optimizer's own"),
        "Momentum of momentum (own: 0.9) and rmsprop (own: 0, as in PyTorch); others take none.",
    ),
    "optimizer.weight_decay": Field(
        0.0,
        at_least(0),
        "Weight decay: decoupled in adamw (where PyTorch's default is 0.01), an L2 term of the "
        "gradient in the others.",
    ),
    "optimizer.clip": Field(0.0, at_least(0), "Largest norm of the gradient; 0 for no clipping."),
    "optimizer.drive": Field(
        0.0,
        BELOW_ONE,
        "Strength x of a planted cause: the learning rate is multiplied by 1 + x times a chaotic "
        "series of each seed's own.",
    ),
    "optimizer.noise": Field(
        0.0,
        at_least(0),
        "Standard deviation of noise added to each parameter's gradient, relative to the norm of "
        "that gradient.",
    ),
    "optimizer.noise_decay": Field(
        1.0,
        at_least(0),
        "Factor by which optimizer.noise decays per step; 0 leaves a single noisy step.",
    ),
    "optimizer.l2_init": Field(
        0.0, at_least(0), "Strength of the pull towards the initial weights (L2 init)."
    ),
    "optimizer.spectral": Field(
        0.0, at_least(0), "Strength of the pull of the largest singular values towards 1."
    ),
    "optimizer.perturb": Field(
        0.0, at_least(0), "Standard deviation of noise added to every parameter after every step."
    ),
}
PROBE = {
    "probe.every": Field(5, at_least(1), "Steps between two measurements."),
    "probe.size": Field(512, at_least(1), "Maximum number of test examples that are measured on."),
    "probe.tokens": Field(
        "rows",
        one_of("rows", "mean", "legacy"),
        "How tokens enter a dimensionality: each as a sample (rows), averaged per example (mean), "
        "or averaged over features (legacy, as an earlier system did).",
    ),
    "probe.rows": Field(2048, at_least(1), "Maximum number of tokens that are used as samples."),
    "probe.centred": Field(True, SWITCH, "Subtract the mean activation before the spectrum."),
    "probe.dimension": Field(
        "participation_ratio",
        one_of(*DIMENSIONS),
        "Dimensionality whose mean over the hidden layers is D.",
    ),
    "probe.extra": Field("", IMPORT_PATH, "A further probe of the user's own."),
    "probe.measures": Field(
        "",
        ANY,
        "Measures that are computed during training, with commas between them; *N after a name "
        "computes it only at every N-th measurement: noise_scale*10,curvature*100.",
    ),
}
CHECKPOINT = {
    "checkpoint.every": Field(500, at_least(1), "Steps between two checkpoints."),
    "checkpoint.keep": Field(2, at_least(1), "Number of latest checkpoints that are kept."),
    "checkpoint.keep_period": Field(
        0,
        at_least(0),
        "Also keep one checkpoint per this many steps, which bounds the cost of a replay; 0 for "
        "none.",
    ),
    "checkpoint.pin_jumps": Field(
        5, at_least(0), "Also keep the checkpoints around this many of the strongest jumps."
    ),
    "checkpoint.pin_window": Field(
        0,
        at_least(0),
        "Steps from a jump to the checkpoints before and after it; 0 for five measurements.",
    ),
}
RESET = {
    "reset.step": Field(
        0, at_least(0), "Step at which a layer or unit is drawn anew (a planted jump); 0 for never."
    ),
    "reset.layer": Field("", ANY, "Layer that is drawn anew."),
    "reset.unit": Field(
        -1, ANY, "Unit, channel or head of that layer that is drawn anew; -1 for all of them."
    ),
}
RULE = {
    "rule.name": Field(
        "backprop",
        one_of("backprop", "local", or_import_path=True),
        "Learning rule; local (family=credit) lets each block learn from its own credit.",
    ),
}
FIELDS = RUN | DATA | MODEL | OPTIMIZER | PROBE | CHECKPOINT | RESET | RULE
