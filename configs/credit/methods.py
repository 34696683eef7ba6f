"""Methods that every credit experiment compares, and the two recipes that they can follow."""

from configs import common
from tapjax.contract.text import did_you_mean

VECTOR = {"name": "vector_field"}
METHODS = {
    "bp": {"name": "bp"},
    "dfa": {"name": "dfa"},
    "dir": {"name": "dir"},
    "drtp": {"name": "drtp"},
    "feedback_alignment": {"name": "feedback_alignment"},
    "kolen_pollack": {"name": "kolen_pollack"},
    "weight_mirror": {"name": "weight_mirror", "directions": 16},
    "sign_symmetry": {"name": "sign_symmetry"},
    "learned_dfa": VECTOR | {"field": "linear", "targets": "joint"},
    "forward_gradient": {"name": "forward_gradient", "targets": "joint"},
    "local_loss": {"name": "local_loss"},
    "local_forward_gradient": {"name": "local_forward_gradient"},
    "target_propagation": {"name": "target_propagation"},
    "pepita": {"name": "pepita"},
    "state_bridge": {"name": "state_bridge", "field": "plain"},
    "scalar_bridge": {"name": "scalar_bridge", "terminal": 1.0},
    "vector": VECTOR | {"field": "plain", "terminal": 1.0},
    "vector_no_terminal": VECTOR | {"field": "plain"},
    "vector_onesided": VECTOR | {"field": "plain", "terminal": 1.0, "mode": "onesided"},
    "vector_shuffled": VECTOR | {"field": "plain", "shuffle": True},
    "vector_residual": VECTOR | {"field": "residual"},
    "vector_bilinear": VECTOR | {"field": "bilinear"},
    "bilinear_shuffled": VECTOR | {"field": "bilinear", "shuffle": True},
    "vector_chain": VECTOR | {"field": "chain", "targets": "block"},
    "chain_tail": VECTOR | {"field": "chain", "targets": "tail"},
    "vector_response": VECTOR | {"field": "chain", "targets": "response", "directions": 1},
    "response_shuffled": VECTOR
    | {"field": "chain", "targets": "response", "directions": 1, "shuffle": True},
    "chain_joint": VECTOR | {"field": "chain", "targets": "joint"},
    "chain_shuffled": VECTOR | {"field": "chain", "targets": "block", "shuffle": True},
}
# Methods with an estimator that learns, which credit.lr belongs to.
LEARNED = {
    *(name for name, method in METHODS.items() if method["name"] == "vector_field"),
    *("weight_mirror", "local_loss", "local_forward_gradient", "target_propagation"),
    *("state_bridge", "scalar_bridge"),
}
# The recipe of the notes, and the same without its faults (see docs/results/credit).
RECIPES = {
    "notes": {
        "rule.normalise": "rms", "rule.shift": 0, "rule.exact_last": False,
        "credit.layer_norm": False, "credit.quiet": False, "credit.unit": "none", "warmup": 0.2,
    },
    "repaired": {
        "rule.normalise": "raw", "rule.shift": 1, "rule.exact_last": True,
        "credit.layer_norm": True, "credit.quiet": True, "credit.unit": "example", "warmup": 0.0,
    },
}  # fmt: skip


def use(config, method: str, recipe: str, change: str = ""):
    """Set the method and the recipe of a config.

    Args:
      config: config of the credit family, with `steps` set; changed in place.
      method: key of `METHODS`.
      recipe: key of `RECIPES`.
      change: setting that is taken from the other recipe, such as `normalise` or `warmup`; empty
        for none.

    Raises:
      ValueError: a name is unknown.
    """
    _one_of("method", method, METHODS)
    _one_of("recipe", recipe, RECIPES)
    fields = dict(RECIPES[recipe])
    if change:
        (other,) = set(RECIPES) - {recipe}
        places = {name.rpartition(".")[2]: name for name in fields}
        _one_of("change", change, places)
        fields[places[change]] = RECIPES[other][places[change]]
    warmup = fields.pop("warmup")
    config.update_from_flattened_dict(fields)
    config.rule.update(name="backprop" if method == "bp" else "local", clip=1.0)
    config.credit.update(METHODS[method])
    if method in LEARNED:
        config.rule.warmup_steps = int(warmup * config.steps)


def boundary(config, code: str, terminal: float, warmup: float):
    """Set the condition at the last layer.

    Args:
      config: config of the credit family, with `steps` set; changed in place.
      code: input on which the credit is conditioned, see `credit.code` in `tapjax.config.schema`.
      terminal: weight of matching the known gradient at the last layer; a negative number keeps the
        weight of the method.
      warmup: share of the steps, in [0, 1], that train by direct feedback; a negative number keeps
        the share of the recipe.
    """
    config.credit.code = code
    if terminal >= 0:
        config.credit.terminal = terminal
    if warmup >= 0:
        config.rule.warmup_steps = int(warmup * config.steps)


def _one_of(what, name, table):
    if name not in table:
        raise ValueError(
            f"{what}={name!r} is not one of {', '.join(table)}{did_you_mean(name, table)}"
        )


def quick(config):
    """Shrink a credit config to a run of seconds on two processor cores.

    Args:
      config: config of the credit family.

    Returns:
      The same config, changed in place.
    """
    common.quick(config)
    config.steps, config.probe.every = 200, 50
    config.rule.warmup_steps = min(config.rule.warmup_steps, 50)
    config.rule.freeze_step = min(config.rule.freeze_step, 1) * 100
    return config
