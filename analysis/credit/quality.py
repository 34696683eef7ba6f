"""Learned credit assignment: quality of the credits, accuracy reached, and comparison with notes.

All results are means over seeds with a t interval. Methods are compared seed by seed.
"""

import numpy as np

from analysis.credit.reported import NOTES, WARMUP
from analysis.runs.reader import Run
from analysis.runs.seeds import differing, field, interval, settings
from analysis.statistics.corrections import sign_flip_p

LAST = 0.02  # last share of training, whose mean loss is the final training loss
REFERENCES = ("dir", "dfa")
# Config fields that describe what is trained, as opposed to how.
SETTING = ("data.name", "data.train_size", "data.validation_size", "model.name", "blocks", "steps")
# Config fields that distinguish two runs of the same method.
VARIANT = (
    "rule.normalise", "rule.shift", "rule.exact_last", "rule.clip", "rule.gate", "rule.block_lr",
    "rule.warmup_steps", "optimizer.lr", "optimizer.warmup_steps", "credit.lr", "credit.code",
    "credit.terminal", "credit.value", "credit.width", "credit.directions", "credit.layer_norm",
    "credit.shared", "credit.steps", "credit.ema", "credit.quiet", "credit.unit", "rule.decay",
    "credit.targets", "credit.mode",
    "data.batch_size", "seeds",
)  # fmt: skip


def method(config: dict) -> str:
    """Return the credit method of a run in a few words.

    Args:
      config: contents of config.json.

    Returns:
      `bp` or the name of the estimator; for a vector field `vector FIELD`, followed by those of its
      targets, mode and shuffling that are not the default.
    """
    credit = config["credit"]
    if config["rule"]["name"] == "backprop" and not config["rule"]["freeze_step"]:
        return "bp"
    if credit["name"] != "vector_field":
        return credit["name"]
    words = ["vector", credit["field"]]
    words += [credit["targets"]] if credit["targets"] != "tail" else []
    words += [credit["mode"]] if credit["mode"] != "jvp" else []
    words += ["shuffled"] if credit["shuffle"] else []
    return " ".join(words)


def measure(run: Run) -> dict[str, np.ndarray]:
    """Measure the quality of the credits of each seed after training.

    Args:
      run: open run of the credit family.

    Returns:
      Arrays [S]: `gamma`, `dir_gamma`, `rho` and `nudge`, means over the hidden states
      h_0 ... h_{L-1}, without the last one because its credit is known; `param_cosine`, the mean
      over the embedding and the blocks that use these credits, which are all but the last block;
      `hidden_rms`, the largest over layers; `fitted`; `train_loss`; and `accuracy` on the whole
      test split, if evaluated. Arrays [S, L+1]: `gamma_layers` and `dir_layers`.
    """
    last = {
        name: run.array("probe", name)[:, -1]
        for name in ("gamma", "dir_gamma", "rho", "nudge", "param_cosine", "hidden_rms", "fitted")
    }
    of_parts = last["param_cosine"][:, :-1]
    found = {name: last[name][:, :-1].mean(1) for name in ("gamma", "dir_gamma", "rho", "nudge")}
    found["param_cosine"] = np.nanmean(of_parts, 1) if of_parts.shape[1] else of_parts[:, 0]
    found["hidden_rms"], found["fitted"] = last["hidden_rms"].max(1), last["fitted"].mean(1)
    loss = run.array("scalar", "loss")
    found["train_loss"] = loss[:, -max(int(LAST * loss.shape[1]), 1) :].mean(1)
    if run.has("eval", "accuracy"):
        found["accuracy"] = run.array("eval", "accuracy")[:, -1]
    return found | {"gamma_layers": last["gamma"], "dir_layers": last["dir_gamma"]}


def setting(config: dict) -> dict:
    """Return the config fields that describe what is trained, as opposed to how."""
    values = {name: field(config, name) for name in SETTING}
    blocks = values.pop("blocks")
    values |= {f"blocks.{name}": value for name, value in blocks.items()}
    return values | {"freeze_step": config["rule"]["freeze_step"]}


def table(runs: list[Run], references=REFERENCES) -> list[dict]:
    """Make one row per run, with comparisons with other runs of the same setting.

    Args:
      runs: open runs of the credit family.
      references: names of the methods, as returned by `method`, that all others are compared with.

    Returns:
      Rows with `setting`, `method`, `variant`, `run`, `n` seeds; the mean of each measure and
      `..._half`, the half width of its interval; `S1` and `S2`, the gamma and rho minus the
      highest of direct feedback; `over_REFERENCE`, differences in accuracy seed by seed from the
      best run of each reference, with half widths and p-values of an exact sign-flip test; and
      `notes_...`, the values that the notes report for the same experiment.
    """
    rows = []
    for trained, members in settings(runs, setting):
        variants = [{name: field(run.config, name) for name in VARIANT} for run in members]
        methods, measured = [method(run.config) for run in members], [measure(r) for r in members]
        for i, run in enumerate(members):
            same = [v for v, m in zip(variants, methods, strict=True) if m == methods[i]]
            told = differing(same) if len(same) > 1 else ()
            row = {"setting": trained, "method": methods[i], "run": run.name, "n": len(run.seeds)}
            said = [f"{name.rpartition('.')[2]}={variants[i][name]}" for name in sorted(told)]
            row["variant"] = ", ".join(said)
            for name, values in measured[i].items():
                if values.ndim == 1:
                    row[name], row[f"{name}_half"] = interval(values)
            row |= _compared(i, members, methods, measured, references)
            row |= {f"notes_{k}": v for k, v in notes_of(run.config, methods[i]).items()}
            rows.append(row)
    return rows


def _compared(i, members, methods, measured, references):
    """Return the differences from the reference runs of the setting that have the same seeds."""
    found = {}
    for reference in references:
        others = [
            m
            for m, name, run in zip(measured, methods, members, strict=True)
            if name == reference and run.seeds == members[i].seeds
        ]
        if methods[i] == reference or not others:
            continue
        if reference == "dfa":
            for score, name in (("S1", "gamma"), ("S2", "rho")):
                best = max(others, key=lambda m, name=name: m[name].mean())
                found[score], found[f"{score}_half"] = interval(measured[i][name] - best[name])
        if "accuracy" in measured[i]:
            best = max(others, key=lambda m: m["accuracy"].mean())
            apart = measured[i]["accuracy"] - best["accuracy"]
            found[f"over_{reference}"], found[f"over_{reference}_half"] = interval(apart)
            found[f"over_{reference}_p"] = sign_flip_p(apart)
    return found


def notes_of(config: dict, name: str) -> dict[str, float]:
    """Return the values that the notes report for the experiment and the method of a run.

    Args:
      config: contents of config.json.
      name: name of the method from `method`.

    Returns:
      `table` and those of `gamma`, `rho`, `accuracy` and `nudge` that the notes give; empty if they
      report nothing.
    """
    for note in NOTES:
        if note["method"] == name and all(_agrees(config, k, v) for k, v in note["where"].items()):
            return {"table": note["table"]} | note["values"]
    return {}


def _agrees(config, name, wanted):
    if name == WARMUP:
        return round(config["rule"]["warmup_steps"] / config["steps"], 2) == wanted
    value = field(config, name)
    if isinstance(wanted, str) and name == "data.name":
        return str(value).startswith(wanted)
    return value == wanted
