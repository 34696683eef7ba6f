"""Fields of family=credit: networks in blocks, the local rule and the estimators of the credit."""

from tapjax.config.fields import ABOVE_ZERO, ANY, BELOW_ONE, SWITCH, Check, Field, at_least, one_of

ZERO_OR_ONE = Check("0 or 1", lambda value: "" if value in (0, 1) else "must be 0 or 1")

BLOCKS = {
    "blocks.activation": Field(
        "gelu", one_of("gelu", "tanh"), "Activation function of a block h -> skip h + F(h)."
    ),
    "blocks.alpha": Field(
        1.0, ANY, "Share of tanh in a mixture with the identity: (1 - alpha) z + alpha tanh(z)."
    ),
    "blocks.skip": Field(1.0, ANY, "Weight of the skip connection."),
    "blocks.block_scale": Field(
        0.1, at_least(0), "Scale of F's last matrix, or of the matrices of linear dynamics."
    ),
    "blocks.embed": Field(
        True, SWITCH, "Embed the input linearly; otherwise the input is the first hidden state."
    ),
    "blocks.noise": Field(
        0.0, at_least(0), "Standard deviation of the noise that linear dynamics add per block."
    ),
    "blocks.constant": Field(False, SWITCH, "Use the same linear dynamics in every block."),
}
RULE = {
    "rule.block_lr": Field(
        0.0,
        at_least(0),
        "Learning rate of the blocks and the embedding; 0 for that of the head, optimizer.lr.",
    ),
    "rule.normalise": Field(
        "raw",
        one_of("raw", "rms", "batch"),
        "Scale of the credits in an update: as they are (raw), each example's divided by its root "
        "mean square (rms), or all divided by that of their layer (batch).",
    ),
    "rule.shift": Field(
        1, ZERO_OR_ONE, "Let a block follow the credit of its output (1) or that of its input (0)."
    ),
    "rule.exact_last": Field(
        True, SWITCH, "Use the known gradient at the last hidden state as its credit."
    ),
    "rule.clip": Field(
        0.0, at_least(0), "Largest norm of each part's gradient; 0 for no clipping."
    ),
    "rule.decay": Field(
        0.0,
        BELOW_ONE,
        "Decay of the weights of the embedding and the blocks per step, which Kolen-Pollack "
        "feedback shares; 0 for none.",
    ),
    "rule.gate": Field(
        False, SWITCH, "Weigh each layer's credit by how well it predicts changes of the loss."
    ),
    "rule.warmup_steps": Field(
        0, at_least(0), "Steps trained by direct feedback before a learned credit is used."
    ),
    "rule.alternate": Field(
        0,
        at_least(0),
        "Steps for which one part (the embedding, a block) learns before the next takes its turn; "
        "0 trains all parts at once.",
    ),
    "rule.freeze_step": Field(
        0,
        at_least(0),
        "Step from which the network stays as it is and only a new estimator of the credit learns; "
        "0 for never.",
    ),
}
CREDIT = {
    "credit.name": Field(
        "bp",
        one_of(
            "bp",
            "dfa",
            "dir",
            "drtp",
            "feedback_alignment",
            "kolen_pollack",
            "weight_mirror",
            "sign_symmetry",
            "forward_gradient",
            "local_loss",
            "local_forward_gradient",
            "target_propagation",
            "pepita",
            "state_bridge",
            "scalar_bridge",
            "vector_field",
            or_import_path=True,
        ),
        "Estimator of the credit: backpropagation (bp), direct feedback alignment (dfa), the "
        "copied gradient of the last hidden state (dir), direct random target projection (drtp), "
        "other estimators of the literature (docs/guides/credit.md), or a learned one.",
    ),
    "credit.field": Field(
        "bilinear",
        one_of("plain", "residual", "bilinear", "linear", "chain"),
        "Form of a learned vector field.",
    ),
    "credit.code": Field(
        "error",
        one_of("error", "delta", "target", "error+h", "delta+h"),
        "What a learned credit is conditioned on besides the hidden state of its layer: the "
        "gradient of "
        "the loss by the output (error), that by the last hidden state (delta), or the "
        "output minus the "
        "error (target); with +h also a random projection of the last hidden state.",
    ),
    "credit.layer_norm": Field(True, SWITCH, "Normalise the inputs of the estimator."),
    "credit.width": Field(256, at_least(1), "Width of the estimator's hidden layer."),
    "credit.lr": Field(1e-3, ABOVE_ZERO, "Learning rate of the estimator."),
    "credit.schedule": Field(
        "constant",
        one_of("constant", "cosine", "linear"),
        "Decay of credit.lr to 0 over the run.",
    ),
    "credit.directions": Field(4, at_least(1), "Random directions per step."),
    "credit.targets": Field(
        "tail",
        one_of("tail", "joint", "block", "response"),
        "Directional derivatives that the estimator is fitted to: of the loss by one layer (tail), "
        "by all layers at once (joint), of a block against the next credit (block), or the "
        "response of the next credit to a direction (response).",
    ),
    "credit.mode": Field(
        "jvp",
        one_of("jvp", "central", "onesided"),
        "How directional derivatives are computed: by jax.jvp or by finite differences.",
    ),
    "credit.distribution": Field(
        "rademacher", one_of("rademacher", "gaussian"), "Distribution of the random directions."
    ),
    "credit.shared": Field(False, SWITCH, "Use one direction for all layers."),
    "credit.terminal": Field(
        0.0, at_least(0), "Weight of the known gradient of the last hidden state in the fit."
    ),
    "credit.value": Field(
        1.0, at_least(0), "Weight of the loss itself in the fit of the scalar bridge."
    ),
    "credit.shuffle": Field(
        False, SWITCH, "A control: fit the estimator to the targets of other examples."
    ),
    "credit.quiet": Field(True, SWITCH, "Initialise the estimator so that its output is 0."),
    "credit.unit": Field(
        "example",
        one_of("example", "batch", "none"),
        "Unit of a vector field's credits and of their errors: the root mean square of the known "
        "gradient of the last hidden state, of each example or of the whole batch, or none.",
    ),
    "credit.steps": Field(1, at_least(1), "Steps of the estimator per step of the network."),
    "credit.ema": Field(
        0.0, BELOW_ONE, "Decay of an average of the estimator that is used in its place; 0: none."
    ),
}
# Controls and options that only these estimators have. With another one they must keep their
# default, because a control without effect would be taken for a result. (The other fields may be
# set for all methods of a comparison.)
_BY_GRADIENT = ("local_loss", "local_forward_gradient", "target_propagation")
_BY_GRADIENT += ("state_bridge", "scalar_bridge", "vector_field")
READ_BY = {
    "credit.steps": _BY_GRADIENT,
    "credit.ema": _BY_GRADIENT,
    "credit.targets": ("forward_gradient", "vector_field"),
    "credit.mode": ("forward_gradient", "vector_field"),
    "credit.shared": ("vector_field",),
    "credit.shuffle": ("vector_field",),
}
FIELDS = BLOCKS | RULE | CREDIT
