"""Which csv or json file holds the numbers of each table of docs/results, and where in it."""

from tests.results_cells import (
    Item,
    Table,
    above,
    best,
    count,
    different,
    leading,
    least,
    mean,
    median,
    most,
    only,
    total,
)

CREDIT_COLUMNS = {
    "Gamma": "gamma", "rho": "rho", "parameter cosine": "param_cosine", "train CE": "train_loss",
    "test accuracy": "accuracy", "less dir": "over_dir", "less dfa": "over_dfa",
}  # fmt: skip
METHODS = {
    "backprop": "bp", "direct feedback": "dfa", "copied gradient": "dir",
    "vector_response": "vector_response", "the same, targets shuffled": "response_shuffled",
    "state bridge": "state_bridge", "state bridge, run later (below)": "state_bridge",
    "state bridge, run later": "state_bridge", "scalar bridge": "scalar_bridge",
    "scalar bridge, run later": "scalar_bridge", "VEC-B, run later": "vector_bilinear",
    "plain field, run later": "vector", "vector field, plain, M = 4": "vector",
    "without terminal gradient": "vector_no_terminal",
    "one-sided differences": "vector_onesided", "targets shuffled": "vector_shuffled",
}  # fmt: skip


CREDIT_RUNS = {label: f"method={method}" for label, method in METHODS.items()}
CREDIT_RUNS["the same, in units of each example"] = "method=vector,unit=example"


def credit(head, file, columns, **more):
    columns = {name: CREDIT_COLUMNS[name] for name in columns.split(", ")} | more
    return Table("credit/README.md", head, file, ("run",), columns, CREDIT_RUNS)


def of_map(how, **where):
    return Item("dir_gamma", how, where)


def range_of(**where):
    return of_map(least, **where), of_map(most, **where)


def ladder(method):
    return tuple(Item(name, where={"method": method}) for name in ("gamma", "rho"))


def notes(method):
    return tuple(Item(name, where={"method": method}) for name in ("notes_gamma", "notes_rho"))


CREDIT = [
    Table("credit/README.md", "| skip | MLP", "map.csv", ("skip",), {
        "MLP, depth 4, 8, 12, width 256, scale .1 to 1":
            range_of(blocks="mlp", activation="gelu", width="256"),
        "width 64, 512":
            (of_map(only, width="64", scale="1"), of_map(only, width="512", scale="1")),
        "tanh, alpha 0 to 1": range_of(activation="tanh"),
        "convolutional, depth 4, 8":
            (of_map(only, blocks="conv", depth="4"), of_map(only, blocks="conv", depth="8")),
    }, {".5": "0.5"}),
    Table("credit/README.md", "| | backprop | vector_response | state bridge | VEC-B", "rates.csv",
          ("method",),
          {"accuracy": Item("validation_accuracy", best), "Gamma": Item("gamma", best)},
          {"backprop": "bp", "state bridge": "state_bridge",
           "VEC-B (`vector_bilinear`)": "vector_bilinear", "plain field": "vector",
           "scalar bridge": "scalar_bridge"}, transposed=True),
    Table("credit/README.md", "| method | test accuracy | less kolen_pollack",
          "comparison/credit.csv", ("method",), {
        "test accuracy": "accuracy", "less kolen_pollack": "over_kolen_pollack",
        "q, kolen_pollack": "over_kolen_pollack_q", "less weight_mirror": "over_weight_mirror",
        "q, weight_mirror": "over_weight_mirror_q", "Gamma": "gamma", "rho": "rho",
        "parameter cosine": "param_cosine", "train CE": "train_loss", "cost": "cost",
    }),
    Table("credit/README.md", "| method, transformer", "comparison/transformer.csv", ("method",), {
        "test accuracy": "accuracy", "less kolen_pollack": "over_kolen_pollack",
        "seeds that reach .9": "reached", "mean step": "reached_step", "Gamma": "gamma",
        "rho": "rho", "parameter cosine": "param_cosine", "block rate": "block_lr",
        "second rate": "second", "n = 1": "validation_best_of_1", "2": "validation_best_of_2",
        "4": "validation_best_of_4", "6": "validation_best_of_6",
    }),
    Table("credit/README.md", "| method, rates | block rate", "comparison/credit.csv", ("method",),
          {"block rate": "block_lr", "second rate": "second", "n = 1": "validation_best_of_1",
           "2": "validation_best_of_2", "4": "validation_best_of_4", "6": "validation_best_of_6"}),
    Table("credit/README.md", "| method, cost | ratio", "cost.csv", ("method",),
          {name: name for name in ("ratio", "lowest", "highest")}),
    credit("50,000 images", "push_50k/credit.csv", ", ".join(CREDIT_COLUMNS)),
    credit("| | Gamma | rho | parameter cosine | train CE | test accuracy | less dir",
           "push_20k/credit.csv", ", ".join(CREDIT_COLUMNS)),
    credit("| | Gamma | rho | train CE | test accuracy | best epoch", "fashion/credit.csv",
           "Gamma, rho, train CE, test accuracy, less dir, less dfa", **{"best epoch": None}),
    Table("credit/README.md", "| notes | ours, A = .17", "lq.csv lq_scale_0.4.csv", ("run",), {
        "notes": Item("notes_gamma", where={"csv": "lq.csv"}),
        "ours, A = .17": Item("gamma", where={"csv": "lq.csv"}),
        "rho: notes, ours": (Item("notes_rho", where={"csv": "lq.csv"}),
                             Item("rho", where={"csv": "lq.csv"})),
        "A = .4": Item("gamma", where={"csv": "lq_scale_0.4.csv"}),
    }, CREDIT_RUNS | {
        "scalar bridge": {"run": "method=scalar_bridge", "variant": ("terminal=1.0", "")},
        "scalar bridge without terminal gradient":
        {"run": "method=scalar_bridge", "variant": "terminal=0.0"},
        "vector field, plain, jvp": "method=vector"}),
    credit("| notes: Gamma, rho | Gamma | rho | parameter cosine", "pilot.csv",
           "Gamma, rho, parameter cosine, train CE, test accuracy", **{"notes: Gamma, rho": None}),
    Table("credit/README.md", "run in units of each example", "units.csv", ("depth", "what"),
          {name: CREDIT_COLUMNS[name] for name in
           ("Gamma", "rho", "parameter cosine", "train CE", "test accuracy")}),
    Table("mechanistic/README.md", "| planted | seed | layer", "interventions.csv",
          ("planted", "seed"),
          {"layer": None, "intervention": None}
          | {name: name for name in ("unit", "effect", "ordinary", "z", "p")}),
    Table("credit/README.md", "| after one epoch", "conv.csv", ("method",),
          {"block rate 7.5e-4": "low", "2e-3": "high", "Gamma": "gamma", "minutes": "minutes"}),
    Table("credit/README.md", "| L | direct feedback", "ladder.csv", ("depth",), {
        "direct feedback": ladder("dfa"), "notes: direct feedback": notes("dfa"),
        "state bridge": ladder("state_bridge"), "notes: state bridge": notes("state_bridge"),
        "scalar bridge": ladder("scalar_bridge"), "notes: scalar bridge": notes("scalar_bridge"),
        "copied gradient": ladder("dir")}, where={"alpha": "1"}),
    Table("credit/README.md", "| notes: Gamma, accuracy | Gamma | rho | accuracy", "boundary.csv",
          ("run",), {"notes: Gamma, accuracy": ("notes_gamma", None), "Gamma": "gamma",
                     "rho": "rho", "accuracy": "accuracy", "Gamma(dir)": "dir_gamma"},
          {"code e_T": "code=error", "delta_L": "code=delta", "e_T + h_L": "code=error+h",
           "delta_L + h_L": "code=delta+h", "terminal weight 0": "terminal=0",
           ".25": "terminal=0.25", "4": "terminal=4", "warm-up 0": "warmup=0",
           ".05": "warmup=0.05", ".5": "warmup=0.5"}),
    Table("credit/README.md", "| notes: Gamma, rho, accuracy", "online_scan.csv", ("run",), {
        "notes: Gamma, rho, accuracy": None, "Gamma": "gamma", "rho": "rho",
        "accuracy": "accuracy", "train CE": "train_loss", "hidden RMS": "hidden_rms",
    }, {"e_T, terminal weight 4": "terminal=4", "e_T, no warm-up": "warmup=0",
        "e_T, warm-up for half of the steps": "warmup=0.5",
        "L = 12, d = 256: direct feedback": "depth=12,method=dfa",
        "L = 12, d = 256: scalar bridge": "depth=12,method=scalar_bridge",
        "L = 12, d = 256: copied gradient": "depth=12,method=dir",
    } | dict.fromkeys([
        "backprop", "direct feedback", "copied gradient", "state bridge", "scalar bridge, e_T",
        "scalar bridge, delta_L", "vector field, plain", "L = 2, d = 512: direct feedback",
        "L = 2, d = 512: scalar bridge", "L = 2, d = 512: copied gradient",
        "L = 4, d = 512: direct feedback", "L = 4, d = 512: scalar bridge",
        "L = 4, d = 512: copied gradient"])),
    credit("| notes: Gamma, rho | Gamma | rho | Gamma of h_0", "frozen.csv",
           "Gamma, rho", **{"notes: Gamma, rho": ("notes_gamma", "notes_rho"),
                            "Gamma of h_0, h_1, h_2, h_3": None}),
    Table("credit/README.md", "from the repaired recipe, taken back", "ablation.csv", ("change",), {
        "best rate, repaired": Item("block_lr", where={"recipe": "repaired"}),
        "from the repaired recipe, taken back": Item("accuracy", where={"recipe": "repaired"}),
        "best rate, notes": Item("block_lr", where={"recipe": "notes"}),
        "from the notes' recipe, taken over": Item("accuracy", where={"recipe": "notes"}),
    }, {"nothing changed": "", "`quiet`: the field's last layer starts at zero": "quiet",
        "`normalise`: raw credits, not one size for each example": "normalise",
        "`layer_norm`: the field sees normalised states": "layer_norm",
        "`shift`: credit of a block's output, not of its input": "shift",
        "`exact_last`: the known gradient for the last block": "exact_last",
        "`warmup`: none by direct feedback": "warmup"}, {"method": "vector"}),
]  # fmt: skip


def with_mitigation(name, *mitigations):
    return tuple(Item(name, where={"mitigation": m}) for m in mitigations)


RATES = {
    f"{name}, {rate}": f"activation={name.lower()},lr=0{rate.split()[-1]}"
    for name in ("ReLU", "tanh")
    for rate in ("rate .01", ".01", ".003", ".001")
} | {f"linear, {rate}": f"lr=0{rate}" for rate in (".01", ".003", ".001")}
REMEDIES = {
    "plain": "none", "SGD": "none", "continual backprop, rate 1e-4": "cbp", "ReDo": "redo",
    "shrink and perturb": "shrink_perturb", "LayerNorm": "layer_norm", "BatchNorm": "batch_norm",
    "with LayerNorm": "layer_norm", "with BatchNorm": "batch_norm", "CReLU": "crelu",
    "L2": "l2", "L2, 1e-4": "l2", "L2 towards the start": "l2_init", "dropout .1": "dropout",
    "anew at every task": "reset", "a single noisy step": "noisy_step",
    "noise that fades": "noise_fading",
    "the same without the correction of the mean (fault of published code)": "cbp_no_correction",
    "the same that keeps the incoming weights (fault of other published code)": "cbp_same_weights",
}  # fmt: skip
LATE = {
    "dead": "dead_fraction_late", "duplicates": "dup_fraction_late",
    "effective rank": "eff_rank_late", "hard rank": "hard_rank_late", "D": "dimension_late",
    "gradient rank": "gradient_rank_late", "tangent-kernel rank": "ntk_rank_late",
}  # fmt: skip
ADAM = "model=mlp:widths=64-32, {}optimizer=adam, lr=0.001, factor=2"
VIT = {"model": "vit:depth=2,width=32,heads=2"}


def remedies(head, file, columns, **words):
    return Table("plasticity/README.md", head, file, ("mitigation",), columns, REMEDIES | words)


def parity(name, model):
    return Item(name, most, {"model": model}, 1e6)


PLASTICITY = [
    Table("plasticity/README.md", "| learner | published", "bits/rates.csv bits/linear.csv",
          ("run",), {"published: first or best, last": None, "first": None, "best": None,
                     "last": "late"}, RATES),
    remedies("| early (tasks 11 to 20) | late", "bits/mitigations.csv",
             {"early (tasks 11 to 20)": "early", "late (last 10 of 100)": "late",
              "less plain": "over_plain", "dead, late": "dead_fraction_late",
              "effective rank, late (of 5)": "eff_rank_late"},
             plain={"run": "activation=relu,lr=0.01"}),
    Table("plasticity/README.md", "| width | plain, late", "bits/width.csv", ("width",), {
        "plain, late: published, ours": (None, *with_mitigation("late", "none")),
        "continual backprop: published, ours": (None, *with_mitigation("late", "cbp")),
        "dead: plain, cbp": with_mitigation("dead_fraction_late", "none", "cbp"),
        "effective rank: plain, cbp (published)":
            (*with_mitigation("eff_rank_late", "none", "cbp"), None, None),
        "duplicates: plain, cbp (published)":
            (*with_mitigation("dup_fraction_late", "none", "cbp"), None, None)}),
    remedies("| first task | best task | last 10", "online/mnist.csv",
             {"first task": None, "best task": None, "last 10 of 100": "late",
              "less plain": "over_plain", "dead, late": "dead_fraction_late",
              "effective rank, late": "eff_rank_late"}),
    Table("plasticity/README.md", "| late accuracy (last 5 tasks)", "permuted/fashion_mnist.csv",
          ("mitigation",),
          {"late accuracy (last 5 tasks)": "late", "less plain": "over_plain",
           "dead: published, ours": (None, "dead_fraction_late"),
           "effective rank: published, ours": (None, "eff_rank_late")}, REMEDIES),
    Table("plasticity/README.md", "| last task | dead", "split/cifar10.csv", ("one_class",), LATE,
          {"stratified": "False", "one class": "True"}),
    remedies("| independent units of 192 (base: 96)", "cloning/sgd.csv",
             {"cloning loss at the end": "cloning_loss",
              "independent units of 192 (base: 96)": Item("hard_rank_late", scale=2),
              "training loss: clone, base": ("loss_late", "x1_loss_late")}),
    Table("plasticity/README.md", "| independent units of 192: clone, base",
          "cloning/adam_track_scratch.csv", ("method",), {
        "cloning loss at the end": "cloning_loss",
        "independent units of 192: clone, base": (Item("hard_rank_late", scale=2),
                                                  Item("x1_hard_rank_end", scale=2)),
        "training loss: clone, base": ("loss_late", "x1_loss_late"),
        "test accuracy": "average_accuracy",
    }, {"Adam": ADAM.format(""), "Adam, dropout .1": ADAM.format("dropout=0.1, "),
        "SGD at corrected rates":
        "model=mlp:widths=64-32, optimizer=sgd, lr=0.1, factor=2, track=True",
        "from scratch, 128 and 64 units, SGD": "model=mlp:widths=128-64, optimizer=sgd, lr=0.1"}),
    Table("plasticity/README.md", "| none | batch | layer", "parity.csv", ("norm",), {
        "MLP 96-64": parity("difference", "mlp:widths=96-64"),
        "CNN": parity("difference", "cnn:channels=32-64,fc=48"),
        "ResNet": parity("difference", "resnet:channels=32-64"),
        "ViT": parity("difference", VIT["model"]),
        "ViT as published (queries not rescaled)": parity("original", VIT["model"]),
    }, transposed=True),
]  # fmt: skip


def control(name, of):
    return Item(name, where={"control": of})


MAPS = {
    label: {"run": folder, "map": name}
    for folder, of in (("map_weights", "weights"), ("map_scalars", "norms and losses"))
    for label, name in (
        (of, "recorded"),
        (f"{of}: random phases", "random phases"),
        (f"{of}: same values and spectrum", "same values"),
        (f"{of}: random walk", "random walk"),
        (f"{of}: shuffled in time", "shuffled in time"),
    )
}
REPEATS = {
    f"{of}: {measure}": {"run": folder, "measure": measure}
    for folder, of in (("map_weights", "weights"), ("map_scalars", "norms and losses"))
    for measure in ("separation", "dwell")
}
MOTIFS = [
    Table("motifs/README.md", "| series | claimed", "nulls.csv mismatched.csv", ("series",),
          {"claimed: level and rise": "claimed", "level alone": "level_alone"},
          {"autoregressions, .9": "autoregression, .9",
           "autoregressions, .99": "autoregression, .99", "random walks": "random walk",
           "increments of random walks": "random walk, increments",
           "loss of one seed and D of another, increments":
           "loss and D of different seeds, increments",
           "the whole procedure: five seeds, causes of other seeds, held against all other "
           "pairings too (csv)": "variables of different seeds, 5 seeds"}),
    Table("motifs/README.md", "| times as fast | goal", "../bench/edm/bench.json", ("what",),
          {"times as fast": ("ratio", "min", "max"), "goal": "goal"},
          {"cross mapping, both directions, 100 libraries of 20 sizes, 1000 points":
           "ccm, 1000 points: pyEDM / ours",
           "cross mapping, 3000 points": "ccm, 3000 points: pyEDM / ours",
           "cross mapping, 10,000 points": "ccm, 10000 points: pyEDM / ours",
           "S-map, theta 3, half against half, 1000 points": "smap, 1000 points: pyEDM / ours",
           "S-map, 3000 points": "smap, 3000 points: pyEDM / ours",
           "S-map, 10,000 points": "smap, 10000 points: pyEDM / ours",
           "simplex projection, 3000 points": "simplex, 3000 points: pyEDM / ours",
           "all pairs of 30 variables, 1000 points, 100 libraries of 20 sizes (pyEDM: one pair, "
           "times 435)": None}),
    Table("motifs/README.md", "| states, and those that hold 90 %",
          "map_weights/maps.csv map_scalars/maps.csv", ("run",),
          {"states, and those that hold 90 %": ("states", "hold_90"), "separation": "separation",
           "dwell, steps": "dwell", "fidelity": "fidelity",
           "contiguity (p)": ("contiguity", "contiguity_p"),
           "agreement of seeds (p)": ("agreement", "agreement_p")}, MAPS),
    Table("motifs/README.md", "| recorded, median", "map_weights/repeats.csv "
          "map_scalars/repeats.csv", ("run",),
          {"recorded, median": control("recorded", "random phases"),
           "random phases, 95 % of 19 maps": (control("low", "random phases"),
                                              control("high", "random phases")),
           "p, random phases": control("p", "random phases"),
           "same values and spectrum, 95 %": (control("low", "same values"),
                                              control("high", "same values")),
           "p, same values": control("p", "same values")}, REPEATS),
]  # fmt: skip

FAMILIES = ("mlp", "cnn", "transformer")
JUMPS = {"csv": "jumps_detailed.csv"}
BENCH_ERROR = "probes within 2e-6 of a float64 SVD"
BENCH = {
    "mlp_medium_5 at least 3 times competent PyTorch": "mlp_medium_5: competent PyTorch / ours",
    "mlp_verywide at least 1.5 times": "mlp_verywide: competent PyTorch / ours",
    "transformer_shallow at least 1.4 times": "transformer_shallow: competent PyTorch / ours",
    "cnn_medium at least 1.05 times": "cnn_medium: competent PyTorch / ours",
    "mlp_medium_5 at most 1.35 times the floor, unmeasured":
    "mlp_medium_5: ours, unmeasured / floor, unmeasured",
    "mlp_verywide at most 1.35 times the floor":
    "mlp_verywide: ours, unmeasured / floor, unmeasured",
    "transformer_shallow at most 1.35 times the floor":
    "transformer_shallow: ours, unmeasured / floor, unmeasured",
    "cnn_medium at most 1.5 times the floor":
    "cnn_medium: ours, unmeasured / floor, unmeasured",
    "a convolution step inside the scan at most 1.3 of the unrolled one":
    "cnn_medium: step in scan / unrolled step",
    "batch size 1, 21-5-1 network, at least 20 times PyTorch": "bits: PyTorch / ours, seeds: 1",
    "batch size 1, permuted MNIST, at least 20 times PyTorch":
    "permuted MNIST: PyTorch / ours, seeds: 1",
    "warm start at most 0.3 of cold, mlp_medium_5": "mlp_medium_5: warm start / cold start",
    "warm start at most 0.3 of cold, transformer_shallow":
    "transformer_shallow: warm start / cold start",
}  # fmt: skip
RELIABILITY = ("fault matrix", "soak", "crash points", "every name, resumed", "hostile input",
               "large runs", "sweeps on workers that die", "devices, workers, files")  # fmt: skip
TRAINING = {"what": "training"}


def settling(name):
    return Item(name, where={"csv": "families.csv"})


def over_seeds(name):
    return Item(name, where={"csv": "analysis_results.json", "pattern": ("no order", "top-down")})


def bracketed(name, how):
    return Item(name, how, {"bracketed": "True"})


def detector(head, name):
    columns = {
        of: Item(name, where={"detector": of}) for of in ("tapjax", "PELT", "upward z-score")
    }
    return Table("tap/detector/README.md", head, "detector.csv", ("fixture",), columns)


FIRST_RUNS = {
    "cnn_deep on CIFAR-10 (JPEG-75)": "cnn_deep", "resnet18 on CIFAR-10 (JPEG-75)": "resnet18",
    "cnn_medium on fashion_mnist": "cnn_medium", "mlp_medium_5 on fashion_mnist": "mlp_medium_5",
    "transformer_shallow on fashion_mnist": "transformer_shallow",
}  # fmt: skip
FIVE = ("start", "1/4", "1/2", "3/4", "end")


def course(net):
    """Table of the measures of one network of docs/results/instruments."""
    columns = {time: Item(time, where={"net": net}) for time in FIVE}
    return Table("instruments/README.md", f"| {net} | start", "course.csv", ("quantity",), columns)


def signals(run, *controls):
    """Table of the signals of one task of docs/results/tap/abilities."""
    own = {"run": run, "control": controls[0]}
    lead = tuple(Item(name, where=own) for name in ("lead", "low", "high"))
    columns = {"lead (80 % of seeds)": lead}
    names = {"rho": "rho", "q": "q", "next": "next", "q of next": "q_next", "R2": "R2"}
    columns |= {head: Item(name, where=own) for head, name in names.items()}
    for control in controls:
        like = {"run": run, "control": control}
        columns[f"area, {control}"] = Item("area", where=like)
        columns[f"q, {control}"] = Item("q_warning", where=like)
    page, head = "tap/abilities/README.md", f"| {run}: signal"
    return Table(page, head, "signals.csv", ("signal",), columns)


def cost(net, name):
    return Item(name, where={"net": net})


OTHERS = [
    signals("induction", "partial", "shuffled"),
    signals("parity", "partial", "shuffled"),
    signals("modular", "partial"),
    Table("tap/abilities/README.md", "| alarm: task", "alarms.csv", ("run", "control", "signal"),
          {"hits": "hits", "steps before the onset": "lead", "false alarms": "false_alarms"}),
    Table("tap/abilities/README.md", "| heads put in", "patch.csv", ("heads",),
          {"able at step: median": Item("able", median), "smallest": Item("able", least),
           "largest": Item("able", most), "accuracy at step 100: median": Item("at_once", median)}),
    Table("tap/abilities/README.md", "| heads removed", "ablation.csv", ("heads",),
          {"highest scores: mean": "top", "largest": "top_most", "seeds below .2": "below",
           "others: mean": "others", "smallest": "others_least"}),
    Table("tap/abilities/README.md", "| task | share of the examples", "mixture.csv", ("task",),
          {"share of the examples": "share", "seeds that have learned it": "able",
           "median step": "median", "first": "least", "last": "most",
           "accuracy, all seeds": "accuracy"}),
    Table("tap/abilities/README.md", "| task | seeds in which", "seeds.csv", ("task",),
          {"seeds in which it emerges": (Item("half", count), Item("half", count)),
           "half of the rise at step": tuple(Item("half", each) for each in (median, least, most)),
           "accuracy at the end, lowest seed": Item("ability", least)}),
    course("transformer"),
    course("mlp"),
    course("cnn"),
    Table("instruments/README.md", "| measure | mlp: ms", "cost.csv", ("measure",),
          {"mlp: ms": cost("mlp", "cpu_ms"), "steps": cost("mlp", "steps"),
           "passes": cost("mlp", "passes"), "cnn: ms": cost("cnn", "cpu_ms"),
           "passes of the cnn": cost("cnn", "passes"),
           "transformer: ms": cost("transformer", "cpu_ms"),
           "passes of the transformer": cost("transformer", "passes")}),
    Table("bench/README.md", "| goal | reached here", "bench.json", ("what",),
          {"reached here": "ratio", "": None}, BENCH | {BENCH_ERROR: None}),
    Table("bench/README.md", "| goal | reached here", "bench.json", ("what",),
          {"reached here": Item("error", most, {"goal": "<= 2e-6"}), "": None},
          dict.fromkeys(BENCH) | {BENCH_ERROR: {}}),
    Table("bench/README.md", "| recorder | ratio", "recorder/bench.json", ("what",),
          {"ratio": "ratio", "goal": None}),
    Table("bench/README.md", "| what | unit", "commands.csv", ("what",),
          {"unit": None, "before": "before", "after": "after"}),
    Table("reliability/README.md", "| family | operations", "crash_points.csv", ("family",),
          {"operations": "operations", "same": "same"}),
    Table("reliability/README.md", "| what | command | result", "soak.json", ("what",),
          {"command": None, "result": (
              None, Item("SIGKILL", total), Item("SIGTERM", total), Item("runs", total),
              Item("seconds", total, scale=1 / 60), None)},
          dict.fromkeys(RELIABILITY) | {"soak": {}}),
    Table("reliability/README.md", "| what | command | result", "stream.json", ("what",),
          {"command": None, "result": (
              Item("step", most), None, Item("rss_mb", least, TRAINING, 1e-3),
              Item("rss_mb", most, TRAINING, 1e-3), Item("mb", most),
              Item("seconds", where={"what": "D(t)"}), Item("rss_mb", where={"what": "D(t)"}))},
          dict.fromkeys(RELIABILITY) | {"large runs": {}}),
    Table("mechanistic/README.md", "| | mlp | cnn | transformer", "families.csv "
          + " ".join(f"{f}/jumps_detailed.csv {f}/analysis_results.json" for f in FAMILIES),
          ("run",), {
        "jumps of D and of layers": Item("step", count, JUMPS),
        "moments looked at": None, "changes beyond ordinary ones": None,
        "layers move together (seeds)": "seeds with layers together",
        "D moves with the loss, in some windows (seeds)": "seeds with D with the loss",
        "settling: rho of depth and step, range over seeds":
            (settling("rho"), over_seeds("low"), over_seeds("high"), settling("q")),
    }, transposed=True),
    Table("mechanistic/README.md", "| found while training, in seeds", " ".join(
          f"planted_{f}/jumps_detailed.csv planted_{f}/analysis_results.json" for f in FAMILIES),
          ("run",), {
        "found while training, in seeds": (Item("seed", different, JUMPS), None,
                                           Item("step", least, JUMPS)),
        "pinned": Item("steps", where={"number": "1"}),
        "first of the ranking": (Item("z", leading), Item("p", leading)),
        "first unit": Item("unit", leading, {"quantity": "None"}), "other moments": None,
    }, {"transformer, 1 head of 4": "planted_transformer", "cnn, 1 channel of 8": "planted_cnn",
        "mlp, 1 unit of 8": "planted_mlp"}),
    Table("tap/first_runs.md", "| run | seeds", "first_runs.json", ("architecture",),
          {"seeds": "seeds", "steps": "last_step", "D at init": "D_first",
           "D min (step)": ("D_min", "D_min_step"), "D at end (sd)": ("D_last", "D_last_sd"),
           "test accuracy (sd)": ("test_accuracy", "test_accuracy_sd"), "wall s": None},
          FIRST_RUNS),
    Table("tap/calibration/README.md", "| family | D(init)", "loao.csv", ("family", "use_init"),
          {"n": Item("r2", count), "R2 (uniform)": Item("r2", median), "> .8": Item("r2", above),
           "R2 log": Item("r2_log", median), "MAPE": Item("mape", median),
           "skill": Item("skill", median), "90 % band holds": Item("coverage", mean, scale=100),
           "seed R2": Item("seed_r2", median)},
          {"no": "False", "yes": "True", "MLP": "mlp", "CNN": "cnn",
           "MLP, bracketed": {"family": "mlp", "bracketed": "True"}}, {"predictor": "gp"}),
    Table("tap/grid/README.md", "| family | predictor", "loao.csv",
          ("family", "predictor", "use_init"),
          {"n": Item("r2", count), "R2": Item("r2", median), "> .8": Item("r2", above),
           "R2 log": Item("r2_log", median), "MAPE": Item("mape", median),
           "skill": Item("skill", median), "coverage": Item("coverage", mean),
           "bracketed n": bracketed("r2", count), "bracketed R2": bracketed("r2", median),
           "bracketed > .8": bracketed("r2", above), "seed R2": Item("seed_r2", median)},
          {"no": "False", "yes": "True"}),
    detector("| planted jumps: recall", "recall"),
    detector("| no jump: false per 1000", "false_per_1000"),
    Table("tap/emergence/README.md", "| run | capability | verdict", "emergence.csv",
          ("architecture", "capability", "verdict"),
          {"best lag (90 % interval), steps": ("best_lag_steps", "low", "high"), "r": "r",
           "95 % of surrogates": "null_95", "q": "q"},
          {"addition, MLP": {"run": "mlp"}}),
    Table("tap/emergence/phase4_summary.md", "| run | capability | verdict", "emergence.csv",
          ("run", "capability", "verdict"),
          {"best lag (steps)": ("best_lag_steps", "low", "high"), "r": "r",
           "95 % of null": "null_95", "p": "p", "q": "q",
           "D first: r at steps (p)": ("r_leads", "r_leads_steps", "p_leads"),
           "D last: r at steps (p)": ("r_lags", "r_lags_steps", "p_lags"),
           "events, p": ("events", "event_p")}),
]  # fmt: skip

TABLES = CREDIT + PLASTICITY + MOTIFS + OTHERS

WORDS = "words, no measured numbers"
UNCOVERED = {
    ("tap/abilities/README.md", "partial control"): WORDS,
    ("mechanistic/README.md", "| run | parameters | steps"): "times and sizes of replays, typed",
    ("mechanistic/README.md", "| run | moments | comparisons"): "printed by placebo.py, typed",
    ("plasticity/README.md", "| | before | now | difference"): "runs stopped early, no csv kept",
    ("plasticity/README.md", "| | PyTorch | ours"): "CPU times, their json was not kept",
    ("reliability/README.md", "| input | property"): WORDS,
    ("reliability/faults.md", "| # | fault"): WORDS,
    ("reliability/faults.md", "| fault | outcome"): WORDS,
    ("tap/emergence/README.md", "| knows the training pairs"): "earlier runs, no csv kept",
    ("tap/emergence/phase4_summary.md", "| run | fits data"): "emergence.json was not kept",
    ("tap/grid/README.md", "| horizon (steps)"): "the monitor's output was not kept",
    ("validity/README.md", "| area | what is claimed"): WORDS,
}
