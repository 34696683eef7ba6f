"""What the fields of a config may hold, alone and together. Imports no JAX."""

import difflib
import itertools

from tapjax.contract.architectures import ZOO, parse_architecture

MOST_SEEDS = 10_000
SINGLE_GROUPS = 32  # layers of up to so many units fall into groups of one
FAMILIES = ("tap", "credit", "plasticity", "motifs")
# What the probe measures of a spectrum, in the order of `probes.spectral_metrics`.
DIMENSIONS = (
    "stable_rank",
    "participation_ratio",
    "effective_rank_90",
    "nuclear_norm_ratio",
    "covariance_participation_ratio",
)
# What a field may hold. Names open to the user's own code also take `package.module:function`.
CHOICES = {
    "family": FAMILIES,
    "over_seeds": ("auto", "vmap", "map", "loop", "shard"),
    "loss": ("cross_entropy", "squared_error", "regression"),
    "tasks.kind": ("single", "permuted", "labels", "classes", "bits"),
    "tasks.head": ("keep", "zero"),
    "tasks.flips": ("one", "all"),
    "data.shuffle": ("epoch", "replacement"),
    "data.layout": ("auto", "channels_first", "channels_last"),
    "model.init": ("lecun", "torch", "kaiming", "small"),
    "model.activation": (
        "own",
        "relu",
        "leaky_relu",
        "tanh",
        "sigmoid",
        "gelu",
        "elu",
        "selu",
        "crelu",
        "none",
    ),
    "model.norm": ("own", "none", "batch", "layer", "group", "instance"),
    "rule.name": ("backprop", "local"),
    "rule.normalise": ("raw", "rms", "batch"),
    "credit.name": ("bp", "dfa", "dir", "state_bridge", "scalar_bridge", "vector_field"),
    "credit.field": ("plain", "residual", "bilinear", "chain"),
    "credit.code": ("error", "delta", "target", "error+h", "delta+h"),
    "credit.targets": ("tail", "joint", "block", "response"),
    "credit.mode": ("jvp", "central", "onesided"),
    "credit.distribution": ("rademacher", "gaussian"),
    "credit.schedule": ("constant", "cosine", "linear"),
    "blocks.activation": ("gelu", "tanh"),
    "renewal.name": ("none", "cbp", "redo"),
    "renewal.utility": (
        "weight",
        "contribution",
        "adaptation",
        "zero_contribution",
        "adaptable_contribution",
        "feature_by_input",
        "random",
    ),
    "renewal.legacy": ("none", "no_correction", "same_weights"),
    "optimizer.name": ("adam", "adamw", "sgd", "momentum", "rmsprop"),
    "optimizer.schedule": ("constant", "cosine", "linear"),
    "probe.tokens": ("rows", "mean", "legacy"),
    "probe.dimension": DIMENSIONS,
}
OPEN = ("loss", "rule.name", "model.name", "data.name", "probe.extra", "credit.name")
AT_LEAST_ONE = ("steps", "scalar_bin", "data.batch_size", "probe.every", "probe.size", "probe.rows")
AT_LEAST_ONE += ("renewal.period", "clone.factor", "clone.times")
AT_LEAST_ONE += ("tasks.classes", "tasks.slow", "checkpoint.every", "checkpoint.keep")
AT_LEAST_ONE += ("credit.width", "credit.directions", "credit.steps")
NOT_NEGATIVE = ("eval_every", "chunk_steps", "data.train_size", "data.test_size")
NOT_NEGATIVE += ("checkpoint.keep_period", "checkpoint.pin_jumps", "reset.step")
NOT_NEGATIVE += ("checkpoint.pin_window", "data.validation_size", "credit.value", "credit.terminal")
NOT_NEGATIVE += ("rule.alternate", "rule.block_lr", "rule.clip", "rule.warmup_steps")
NOT_NEGATIVE += ("rule.freeze_step",)
NOT_NEGATIVE += ("optimizer.noise", "optimizer.noise_decay", "optimizer.l2_init")
NOT_NEGATIVE += ("optimizer.spectral", "optimizer.perturb", "renewal.rate", "renewal.maturity")
NOT_NEGATIVE += ("renewal.threshold", "clone.step")
NOT_NEGATIVE += ("record.sketch", "record.weights", "record.examples")
NOT_NEGATIVE += ("tasks.steps", "probe.gradients", "blocks.block_scale", "blocks.noise")
NOT_NEGATIVE += ("optimizer.weight_decay", "optimizer.clip", "optimizer.warmup_steps")
BELOW_ONE = ("optimizer.b1", "optimizer.b2", "optimizer.drive", "credit.ema", "renewal.decay")
# Families of architectures whose activation, normalisation and dropout can be chosen.
STYLED = ("mlp", "cnn", "resnet", "resnet18", "vit")
# Families of architectures that are networks in blocks, each with its own credit.
LAYERED = ("residual", "residual_conv", "dynamics")


def did_you_mean(name: str, known) -> str:
    """A suggestion to append to an error message, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def is_import_path(name: str) -> bool:
    """Whether a name has the form `package.module:function`."""
    module, colon, function = name.partition(":")
    parts = [*module.split("."), function]
    return bool(colon) and all(part.isidentifier() for part in parts)


def broken(flat: dict) -> list[str]:
    """The constraints that a config breaks.

    Args:
      flat: dotted name -> value of the right type, every field.

    Returns:
      One line each.
    """
    found = []
    for name, choices in CHOICES.items():
        value = flat[name]
        if value not in choices and not (name in OPEN and is_import_path(value)):
            found.append(
                f"{name}={value!r} is not one of {', '.join(choices)}"
                + did_you_mean(value, choices)
            )
    found += [f"{n}={flat[n]} must be at least 1" for n in AT_LEAST_ONE if flat[n] < 1]
    found += [f"{n}={flat[n]} must not be negative" for n in NOT_NEGATIVE if flat[n] < 0]
    found += [f"{n}={flat[n]} must be in [0, 1)" for n in BELOW_ONE if not 0 <= flat[n] < 1]
    if not flat["optimizer.lr"] > 0:
        found.append(f"optimizer.lr={flat['optimizer.lr']} must be above 0")
    momentum = flat["optimizer.momentum"]
    if momentum != -1 and not 0 <= momentum < 1:
        found.append(
            f"optimizer.momentum={momentum} must be in [0, 1), or -1 for the optimizer's own"
        )
    if flat["probe.extra"] and not is_import_path(flat["probe.extra"]):
        found.append(f"probe.extra={flat['probe.extra']!r} must be package.module:function")
    lengths = [0, *flat["former_steps"], flat["steps"]]
    if any(a >= b for a, b in itertools.pairwise(lengths)):
        found.append(f"former_steps={flat['former_steps']} must grow, and be less than steps")
    return found + _model_problems(flat["model.name"]) + _style_problems(flat) + _relations(flat)


def _model_problems(name):
    if is_import_path(name):
        return []
    try:
        parse_architecture(name)
    except ValueError as error:
        return [f"model.name: {error}{did_you_mean(name, ZOO)}"]
    return []


def _style_problems(flat):
    name = flat["model.name"]
    found, styled = [], not is_import_path(name) and name.partition(":")[0].partition("_")[0]
    rate = flat["model.dropout"]
    if rate != -1 and not 0 <= rate < 1:
        found.append(f"model.dropout={rate} must be in [0, 1), or -1 for the architecture's own")
    usual = {"model.activation": "own", "model.norm": "own", "model.dropout": -1.0}
    usual |= {"model.affine": True, "model.norm_after": False}
    changed = [field for field, value in usual.items() if flat[field] != value]
    if changed and styled not in STYLED:
        found.append(f"{changed[0]} is only for {', '.join(STYLED)}, not for {name!r}")
    if styled == "mlp" and flat["model.norm"] == "instance":
        found.append("model.norm='instance' normalises each channel of an image: not for an mlp")
    if styled == "mlp" and flat["model.norm"] == "group" and not _model_problems(name):
        if min(parse_architecture(name).widths) <= SINGLE_GROUPS:
            found.append(
                f"model.norm='group' makes a group of each unit of a layer of up to "
                f"{SINGLE_GROUPS}, which leaves nothing of it: wider layers, or another norm"
            )
    if styled == "vit" and flat["model.norm"] in ("group", "instance"):
        found.append(f"model.norm={flat['model.norm']!r} is not for a vit: layer, batch or none")
    if styled == "vit" and flat["model.norm_after"]:
        found.append("model.norm_after is not for a vit, which normalises first")
    return found


def _relations(flat):
    found = []
    seeds, every = flat["seeds"], flat["probe.every"]
    if not 0 < len(seeds) <= MOST_SEEDS:
        found.append(f"seeds: a run has one to {MOST_SEEDS}, not {len(seeds)}; a sweep takes more")
    elif len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        found.append(f"seeds={seeds} must be different integers from 0 to 2**32 - 1")
    if every < 1:
        return found
    multiples = (
        "steps",
        "chunk_steps",
        "tasks.steps",
        "clone.step",
        "reset.step",
        "checkpoint.pin_window",
    )
    for name in (*multiples, "rule.freeze_step"):
        if flat[name] % every:
            near = max(round(flat[name] / every), 1) * every
            found.append(
                f"{name}={flat[name]} must be a multiple of probe.every={every}, for example {near}"
            )
    found += _credit_relations(flat) + _task_relations(flat)
    if flat["data.layout"] != "auto" and not flat["data.name"].endswith(".npz"):
        found.append("data.layout is for an .npz file as data.name")
    if flat["scalar_bin"] > 0 and every % flat["scalar_bin"]:
        found.append(f"scalar_bin={flat['scalar_bin']} must divide probe.every={every}")
    if flat["reset.step"] >= flat["steps"]:
        found.append("reset.step must be below steps")
    if flat["optimizer.warmup_steps"] >= flat["steps"]:
        found.append("optimizer.warmup_steps must be below steps")
    return found


def _task_relations(flat):
    found, length = [], flat["tasks.steps"]
    if (length or flat["tasks.kind"] != "single") and flat["family"] != "plasticity":
        found.append("tasks.kind and tasks.steps need family=plasticity")
    if length and flat["steps"] % length:
        found.append(f"tasks.steps={length} must divide steps={flat['steps']}")
    if length and flat["chunk_steps"] and length % flat["chunk_steps"]:
        found.append(f"chunk_steps={flat['chunk_steps']} must divide tasks.steps={length}")
    bits = flat["tasks.kind"] == "bits"
    if bits != (flat["loss"] == "regression") or bits != flat["data.name"].startswith("bits"):
        found.append("tasks.kind='bits', loss='regression' and data.name='bits:...' go together")
    if flat["renewal.name"] != "none" and flat["family"] != "plasticity":
        found.append("renewal.name needs family=plasticity")
    if flat["renewal.name"] != "none" and is_import_path(flat["model.name"]):
        found.append("renewal.name needs a model.name of tapjax's own, whose units are known")
    if flat["clone.factor"] > 1:
        if flat["family"] != "plasticity":
            found.append("clone.factor needs family=plasticity")
        if flat["clone.step"] * flat["clone.times"] >= flat["steps"]:
            found.append("clone.step times clone.times must be below steps")
        if flat["tasks.head"] == "zero" or flat["tasks.reset"] or flat["tasks.reset_optimizer"]:
            found.append("clone.factor does not go with heads or networks that begin anew")
        if flat["clone.track"] and flat["optimizer.name"] != "sgd":
            found.append("clone.track needs optimizer.name='sgd'")
        if is_import_path(flat["model.name"]):
            found.append("clone.factor needs a model.name of tapjax's own")
    return found


def _credit_relations(flat):
    found, name = [], flat["model.name"]
    layered = not is_import_path(name) and name.partition(":")[0] in LAYERED
    if layered != (flat["family"] == "credit"):
        found.append(
            f"model.name={name!r} does not go with family={flat['family']!r}: family=credit trains "
            "residual:depth=4,width=256, residual_conv:depth=4,width=32 or "
            "dynamics:depth=8,width=8, and only it does"
        )
    if flat["family"] != "credit" and flat["rule.name"] == "local":
        found.append("rule.name='local' needs family=credit")
    if flat["rule.shift"] not in (0, 1):
        found.append(f"rule.shift={flat['rule.shift']} must be 0 or 1")
    if flat["rule.alternate"] and flat["optimizer.schedule"] != "constant":
        found.append(
            "rule.alternate needs optimizer.schedule='constant': each part counts its own steps"
        )
    for field in ("rule.freeze_step", "rule.warmup_steps"):
        if flat[field] >= flat["steps"]:
            found.append(f"{field}={flat[field]} must be below steps={flat['steps']}")
    if name.startswith("dynamics") and flat["checkpoint.pin_jumps"]:
        found.append(
            "checkpoint.pin_jumps must be 0: linear dynamics have no dimensionality to watch"
        )
    return found


def schedules_of_steps(flat: dict) -> list[str]:
    """The fields of a config whose meaning depends on the number of steps.

    Args:
      flat: a valid config's fields by their dotted names.

    Returns:
      `name=value` of each schedule that ends with the run.
    """
    schedules = ["credit.schedule"] if flat["family"] == "credit" else []
    schedules += [] if flat["rule.freeze_step"] else ["optimizer.schedule"]
    return [f"{name}={flat[name]!r}" for name in schedules if flat[name] != "constant"]
