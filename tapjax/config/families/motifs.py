"""Fields of family=motifs: the quantities that are recorded at every step."""

from tapjax.config.fields import Field, at_least

FIELDS = {
    "record.sketch": Field(
        256, at_least(0), "Random projections recorded per weight matrix; 0 for none."
    ),
    "record.weights": Field(64, at_least(0), "Single weights recorded per weight matrix."),
    "record.examples": Field(
        256,
        at_least(0),
        "Maximum number of probe examples whose losses and mean activations are recorded.",
    ),
}
