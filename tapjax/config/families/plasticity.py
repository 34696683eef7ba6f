"""Fields of family=plasticity: sequences of tasks, clones of units, and reset units."""

from tapjax.config.fields import BELOW_ONE, SWITCH, Field, at_least, one_of

TASKS = {
    "tasks.kind": Field(
        "single",
        one_of("single", "permuted", "labels", "classes", "bits"),
        "What a new task changes: nothing (single), the order of pixels, the labels, the classes "
        "that occur, or slowly changing bits.",
    ),
    "tasks.steps": Field(0, at_least(0), "Steps per task; divides steps; 0 for a single task."),
    "tasks.classes": Field(2, at_least(1), "Classes per task of kind classes."),
    "tasks.masked": Field(
        True, SWITCH, "Let the network decide among the classes of the task only."
    ),
    "tasks.slow": Field(15, at_least(1), "Bits that stay constant during a task of kind bits."),
    "tasks.flips": Field(
        "one",
        one_of("one", "all"),
        "Change one of the slow bits per task, or draw all of them anew.",
    ),
    "tasks.head": Field(
        "keep", one_of("keep", "zero"), "Keep the output layer or set it to 0 at every new task."
    ),
    "tasks.reset": Field(False, SWITCH, "Draw a new network at every new task."),
    "tasks.reset_optimizer": Field(False, SWITCH, "Initialise the optimizer at every new task."),
    "tasks.matrix": Field(
        True,
        SWITCH,
        "Evaluate all tasks of the run, including those to come, not only the one learned last.",
    ),
}
CLONE = {
    "clone.factor": Field(
        1, at_least(1), "Units of the clone per unit of the network; 1 for no clone."
    ),
    "clone.times": Field(1, at_least(1), "Number of times that the network is cloned."),
    "clone.step": Field(
        0,
        at_least(0),
        "Step at which the network is cloned; with clone.times above 1 it is cloned again "
        "after as many "
        "further steps.",
    ),
    "clone.track": Field(
        False, SWITCH, "Use learning rates with which SGD lets a clone follow its base."
    ),
}
RENEWAL = {
    "renewal.name": Field(
        "none",
        one_of("none", "cbp", "redo"),
        "Reset units of little utility: continual backprop (cbp) or ReDo.",
    ),
    "renewal.rate": Field(1e-4, at_least(0), "Share of the mature units that cbp resets per step."),
    "renewal.maturity": Field(100, at_least(0), "Steps before a unit may be reset."),
    "renewal.decay": Field(
        0.99, BELOW_ONE, "Decay of the running means of utility and activation."
    ),
    "renewal.utility": Field(
        "adaptable_contribution",
        one_of(
            "weight",
            "contribution",
            "adaptation",
            "zero_contribution",
            "adaptable_contribution",
            "feature_by_input",
            "random",
        ),
        "Utility by which cbp chooses units.",
    ),
    "renewal.threshold": Field(
        0.1,
        at_least(0),
        "Share of its layer's mean activity over the last 512 examples below which ReDo resets a "
        "unit.",
    ),
    "renewal.period": Field(
        1000,
        at_least(1),
        "Steps between two resets by ReDo; lengthened to cover at least 512 examples.",
    ),
    "renewal.legacy": Field(
        "none",
        one_of("none", "no_correction", "same_weights"),
        "Fault of published code to reproduce: the mean activation of a reset unit is not "
        "added to the "
        "next bias (no_correction), or incoming weights are kept (same_weights).",
    ),
}
PROBE = {
    "probe.one_class": Field(
        False, SWITCH, "Measure on examples of one class of the task, as published figures do."
    ),
    "probe.gradients": Field(
        16, at_least(0), "Examples whose gradients are compared with one another."
    ),
}
FIELDS = TASKS | CLONE | RENEWAL | PROBE
