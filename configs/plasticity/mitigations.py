"""Mitigations that keep a network learning, at the strengths published for online learning."""

from tapjax.contract.text import did_you_mean

CBP = {"renewal.name": "cbp", "renewal.rate": 1e-4, "renewal.maturity": 100}
NOISE = {"optimizer.noise": 0.01}
MITIGATIONS = {
    "none": {},
    "l2": {"optimizer.weight_decay": 1e-4},
    "shrink_perturb": {"optimizer.weight_decay": 1e-4, "optimizer.perturb": 1e-5},
    "l2_init": {"optimizer.l2_init": 1e-4},
    "spectral": {"optimizer.spectral": 1e-4},
    "noise": NOISE | {"optimizer.noise_decay": 1.0},
    "noise_fading": NOISE | {"optimizer.noise_decay": 0.999},
    "noisy_step": NOISE | {"optimizer.noise_decay": 0.0},
    "cbp": CBP | {"renewal.legacy": "none"},
    "cbp_no_correction": CBP | {"renewal.legacy": "no_correction"},
    "cbp_same_weights": CBP | {"renewal.legacy": "same_weights"},
    "redo": {"renewal.name": "redo", "renewal.threshold": 0.1, "renewal.period": 1000},
    "dropout": {"model.dropout": 0.1},
    "layer_norm": {"model.norm": "layer"},
    "batch_norm": {"model.norm": "batch"},
    "crelu": {"model.activation": "crelu"},
    "reset_head": {"tasks.head": "zero"},
    "reset_optimizer": {"tasks.reset_optimizer": True},
    "reset": {"tasks.reset": True},
}


def use(config, mitigation: str):
    """Set the mitigations of a config.

    Args:
      config: config of the plasticity family; changed in place.
      mitigation: key of `MITIGATIONS`, or several keys joined by `+`, as in `l2+layer_norm`.

    Raises:
      ValueError: a name is unknown, or two mitigations need different values of one field.
    """
    asked = {}
    for name in mitigation.split("+"):
        if name not in MITIGATIONS:
            known = ", ".join(MITIGATIONS)
            hint = did_you_mean(name, MITIGATIONS)
            raise ValueError(f"mitigation={name!r} is not one of {known}{hint}")
        for field, value in MITIGATIONS[name].items():
            other, before = asked.setdefault(field, (name, value))
            if before != value:
                raise ValueError(
                    f"mitigation={mitigation!r}: {other} has {field}={before!r}, {name} has "
                    f"{value!r}; take one of them"
                )
    config.update_from_flattened_dict({field: value for field, (_, value) in asked.items()})
