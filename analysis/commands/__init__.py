"""Analysis commands. Each module adds its flags, does one analysis, and returns its result."""

# Name of a command -> (module in analysis.commands, help text). Commands in READERS read runs.
READERS = {
    "summary": ("summary", "list runs with their status, dimensionality D, loss and test accuracy"),
    "curves": ("curves", "draw D, loss and accuracy of runs in one figure"),
    "tap": ("tap", "fit curve models, among them the TAP equation, to D(t)"),
    "alpha": (
        "alpha",
        "test whether alpha, the rate of the TAP equation, depends on the architecture",
    ),
    "jumps": ("jumps", "list the jumps of D and of every layer"),
    "monitor": ("monitor", "replay recorded runs to the live monitor and score its forecasts"),
    "live": ("live", "show the curves of runs in a browser while they train"),
    "mechanistic": ("mechanistic", "measure what changes inside networks around critical steps"),
    "similarity": ("similarity", "compare representations between steps, seeds and layers"),
    "examples": ("examples", "show when examples are learned, and which ones jumps belong to"),
    "emergence": ("emergence", "test whether D changes before capabilities do"),
    "precursors": ("precursors", "test which quantities move before an ability emerges"),
    "credit": ("credit", "measure the quality of estimated credits and the accuracy they lead to"),
    "plasticity": ("plasticity", "measure whether networks keep learning and what they remember"),
    "edm": ("edm", "test which recorded variables act on each other"),
    "motifs": ("motifs", "map the states that recur while networks train"),
    "spectra": ("spectra", "compare the movement of components with a random walk"),
    "atlas": ("atlas", "draw every quantity of runs on one page, and test which move together"),
    "report": ("report", "run every analysis that suits the runs and write one HTML page"),
    "export": ("export", "write runs as CSV, Parquet, NetCDF, TensorBoard or W&B files"),
    "join": ("join", "make one run of several runs of one experiment, with all their seeds"),
    "predictor": ("predictor", "measure how well D(t) can be predicted before training"),
}
OTHERS = {
    "predict": ("predict", "forecast D(t) of a network that was not trained"),
    "import": ("import_arrays", "convert arrays of other frameworks into run directories"),
    "validate-detector": (
        "detector",
        "measure the recall and the false positives of jump detectors",
    ),
}
COMMANDS = READERS | OTHERS
