"""Checks of the relations between the fields of a config. Imports no JAX."""

import itertools

from tapjax.config.families.credit import CREDIT, READ_BY
from tapjax.config.fields import is_import_path
from tapjax.contract.architectures import parse_architecture
from tapjax.contract.tasks import REAL_VALUED, has_sequences, is_drawn

SINGLE_GROUPS = 32  # in layers of at most this number of units, each group consists of one unit
# Families of architectures whose activation, normalisation and dropout can be chosen.
STYLED = ("mlp", "cnn", "resnet", "resnet18", "vit", "decoder")
WITH_MOMENTUM = ("momentum", "rmsprop")
# Families of architectures that consist of blocks, where each block has its own credit.
LAYERED = ("residual", "residual_conv", "residual_transformer", "dynamics")


def relations(flat: dict) -> list[str]:
    """Find combinations of fields that are not allowed.

    Args:
      flat: dotted name -> value of every field of the config's family. Each value must be allowed
        when considered alone.

    Returns:
      One line per problem.
    """
    found = _style_problems(flat) + _step_relations(flat) + _credit_relations(flat)
    found += _data_relations(flat)
    return found + (_task_relations(flat) if flat["family"] == "plasticity" else [])


def _data_relations(flat):
    found, kind = [], flat["data.name"].partition(":")[0]
    if (flat.get("tasks.kind") == "bits") != (kind == "bits"):
        found.append("tasks.kind='bits' and data.name='bits:...' go together")
    if kind in REAL_VALUED and flat["loss"] != "regression":
        found.append(f"data.name={kind!r} needs loss='regression'")
    if kind not in REAL_VALUED and flat["loss"] == "regression":
        found.append(f"loss='regression' is for data.name {' and '.join(REAL_VALUED)}")
    drawn = is_drawn(flat["data.name"])
    if drawn and "shuffled=1" in flat["data.name"] and flat["data.batch_size"] == 1:
        found.append("data.name with shuffled=1 needs data.batch_size of at least 2")
    if flat["family"] != "tap" and (drawn or has_sequences(flat["data.name"])):
        found.append(f"data.name={kind!r} is for family='tap', not {flat['family']!r}")
    return found


def _style_problems(flat):
    name = flat["model.name"]
    found, styled = [], not is_import_path(name) and name.partition(":")[0].partition("_")[0]
    usual = {"model.activation": "own", "model.norm": "own", "model.dropout": -1.0}
    usual |= {"model.affine": True, "model.norm_after": False}
    changed = [field for field, value in usual.items() if flat[field] != value]
    if changed and styled not in STYLED:
        found.append(f"{changed[0]} is only for {', '.join(STYLED)}, not for {name!r}")
    if styled == "decoder" and set(changed) - {"model.activation", "model.dropout"}:
        found.append(
            "a decoder has its normalisation in its name: model.name='decoder:...,norm=pre'"
        )
    if styled == "mlp" and flat["model.norm"] == "instance":
        found.append("model.norm='instance' normalises each channel of an image: not for an mlp")
    if styled == "mlp" and flat["model.norm"] == "group":
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


def _step_relations(flat):
    found, every, steps = [], flat["probe.every"], flat["steps"]
    multiples = ("steps", "chunk_steps", "tasks.steps", "clone.step", "reset.step")
    for name in (*multiples, "checkpoint.pin_window", "rule.freeze_step"):
        if flat.get(name, 0) % every:
            near = max(round(flat[name] / every), 1) * every
            found.append(
                f"{name}={flat[name]} must be a multiple of probe.every={every}, for example {near}"
            )
    if every % flat["scalar_bin"]:
        found.append(f"scalar_bin={flat['scalar_bin']} must divide probe.every={every}")
    for name in ("reset.step", "optimizer.warmup_steps", "rule.freeze_step", "rule.warmup_steps"):
        if flat.get(name, 0) >= steps:
            found.append(f"{name}={flat[name]} must be below steps={steps}")
    lengths = [0, *flat["former_steps"], steps]
    if any(a >= b for a, b in itertools.pairwise(lengths)):
        found.append(f"former_steps={flat['former_steps']} must grow, and be less than steps")
    if flat["optimizer.momentum"] != -1 and flat["optimizer.name"] not in WITH_MOMENTUM:
        found.append(
            f"optimizer.momentum={flat['optimizer.momentum']} is only for "
            f"{' and '.join(WITH_MOMENTUM)}, not for {flat['optimizer.name']!r}"
        )
    if flat["data.layout"] != "auto" and not flat["data.name"].endswith(".npz"):
        found.append("data.layout is for an .npz file as data.name")
    return found


def _task_relations(flat):
    found, length = [], flat["tasks.steps"]
    if length and flat["steps"] % length:
        found.append(f"tasks.steps={length} must divide steps={flat['steps']}")
    if length and flat["chunk_steps"] and length % flat["chunk_steps"]:
        found.append(f"chunk_steps={flat['chunk_steps']} must divide tasks.steps={length}")
    if flat["renewal.name"] != "none" and is_import_path(flat["model.name"]):
        found.append(
            "renewal.name needs one of tapjax's own architectures in model.name, whose units "
            "are known"
        )
    if flat["clone.factor"] > 1:
        if flat["clone.step"] * flat["clone.times"] >= flat["steps"]:
            found.append("clone.step times clone.times must be below steps")
        if flat["tasks.head"] == "zero" or flat["tasks.reset"] or flat["tasks.reset_optimizer"]:
            found.append(
                "clone.factor cannot be combined with tasks.head='zero', tasks.reset or "
                "tasks.reset_optimizer"
            )
        if flat["clone.track"] and flat["optimizer.name"] != "sgd":
            found.append("clone.track needs optimizer.name='sgd'")
        if is_import_path(flat["model.name"]):
            found.append("clone.factor needs one of tapjax's own architectures in model.name")
        if "positions=rotary" in flat["model.name"]:
            found.append(
                "clone.factor is not for rotary positions, which pair the features of a head"
            )
    return found


def _credit_relations(flat):
    found, name = [], flat["model.name"]
    in_blocks = not is_import_path(name) and name.partition(":")[0] in LAYERED
    if in_blocks != (flat["family"] == "credit"):
        found.append(
            f"model.name={name!r} does not go with family={flat['family']!r}: family=credit trains "
            "residual:depth=4,width=256, residual_conv:depth=4,width=32, "
            "residual_transformer:depth=2,width=64,heads=4 or "
            "dynamics:depth=8,width=8, and only it does"
        )
    if flat["family"] != "credit":
        return found + ["rule.name='local' needs family=credit"] * (flat["rule.name"] == "local")
    if flat["rule.alternate"] and flat["optimizer.schedule"] != "constant":
        found.append(
            "rule.alternate needs optimizer.schedule='constant': each part counts its own steps"
        )
    found += _without_effect(flat)
    if flat["credit.name"] == "kolen_pollack":
        found += _kolen_pollack(flat)
    if flat["credit.field"] == "linear" and flat["credit.code"].endswith("+h"):
        found.append("credit.field='linear' needs a credit.code without +h")
    if flat["credit.mode"] != "jvp" and flat["credit.targets"] != "tail":
        found.append(
            f"credit.mode={flat['credit.mode']!r} needs credit.targets='tail'; the others use jvp"
        )
    perturbed = flat["credit.name"] == "forward_gradient"
    if perturbed and flat["credit.targets"] not in ("tail", "joint"):
        found.append("credit.name='forward_gradient' needs credit.targets='tail' or 'joint'")
    if flat["credit.targets"] == "response" and flat["credit.field"] != "chain":
        found.append(
            "credit.targets='response' needs credit.field='chain', which models responses of blocks"
        )
    if name.startswith("dynamics") and flat["checkpoint.pin_jumps"]:
        found.append(
            "checkpoint.pin_jumps must be 0: linear dynamics have no dimensionality to watch"
        )
    return found


def _without_effect(flat):
    """Return the fields that the estimator does not read although they are not at their default."""
    if is_import_path(flat["credit.name"]):
        return []
    return [
        f"{name}={flat[name]!r} has no effect with credit.name={flat['credit.name']!r}: it must be "
        f"{CREDIT[name].default!r}, or credit.name one of {', '.join(names)}"
        for name, names in READ_BY.items()
        if flat[name] != CREDIT[name].default and flat["credit.name"] not in names
    ]


def _kolen_pollack(flat):
    """Return the settings with which feedback and weights would not get the same updates."""
    found = [
        f"credit.name='kolen_pollack' needs {name}=0: feedback and weights get the same updates"
        for name in (
            *("rule.alternate", "rule.freeze_step", "optimizer.clip", "optimizer.noise"),
            *("optimizer.drive", "optimizer.perturb", "optimizer.spectral", "optimizer.l2_init"),
        )
        if flat.get(name)
    ]
    if flat["optimizer.weight_decay"] and flat["optimizer.name"] != "adamw":
        found.append(
            "credit.name='kolen_pollack' needs optimizer.name='adamw' with optimizer.weight_decay; "
            "rule.decay goes with every optimizer"
        )
    if flat["model.name"].startswith("dynamics"):
        found.append(
            "credit.name='kolen_pollack' needs weights that learn; linear dynamics are fixed"
        )
    return found


def schedules_of_steps(flat: dict) -> list[str]:
    """Return the schedules of a config that depend on the number of steps.

    Args:
      flat: dotted name -> value of every field of a valid config.

    Returns:
      `name=value` of each schedule that ends with the run.
    """
    schedules = ["credit.schedule"] if flat["family"] == "credit" else []
    schedules += [] if flat.get("rule.freeze_step") else ["optimizer.schedule"]
    return [f"{name}={flat[name]!r}" for name in schedules if flat[name] != "constant"]
