"""Analysis commands. Each module adds its flags, does one analysis, and returns its result."""

# Name of a command -> (module in analysis.commands, help text). Commands in READERS read runs.
READERS = {
    "summary": ("summary", "table of runs"),
    "tap": ("tap", "fit models of D(t)"),
    "alpha": ("alpha", "is alpha a function of the architecture?"),
    "jumps": ("jumps", "list the jumps of D and of every layer"),
    "monitor": ("monitor", "what the live monitor would have said of runs"),
    "mechanistic": ("mechanistic", "what changes inside around jumps, beyond what always does"),
    "emergence": ("emergence", "does D move before capabilities do?"),
    "credit": ("credit", "how good estimated credits are, and what training by them is worth"),
    "plasticity": ("plasticity", "does a network go on learning, what does it remember?"),
    "edm": ("edm", "which recorded variables act on each other?"),
    "motifs": ("motifs", "which movements recur while networks train, on one map?"),
    "spectra": ("spectra", "how fast components move, beside a random walk of the same steps"),
    "report": ("report", "every analysis that suits the runs, on one page"),
    "predictor": ("predictor", "how well D(t) can be predicted before training"),
}
OTHERS = {
    "predict": ("predict", "forecast D(t) of a network that was never trained"),
    "import": ("import_arrays", "foreign arrays into runs"),
    "validate-detector": ("detector", "recall and false positives of jump detectors"),
}
COMMANDS = READERS | OTHERS
