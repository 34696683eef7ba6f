"""Does a network go on learning? Tasks one after another, what is remembered, clones of units.

Everything is a mean over seeds with a t interval; runs are compared seed by seed.
"""

import numpy as np
from scipy import stats

from analysis.runs.reader import Run, RunError
from analysis.runs.seeds import differing, field, interval
from analysis.statistics.corrections import LEAST_CORRELATED, sign_flip_p

# Fields of a config that say what is learned, as opposed to by what network and how.
SETTING = (
    "data.name", "data.train_size", "data.normalise", "data.batch_size", "tasks.kind",
    "tasks.classes", "tasks.steps", "tasks.slow", "steps",
)  # fmt: skip
# Fields in which networks and methods differ, and the values that go without saying.
METHOD = {
    "model.name": (), "model.norm": ("own",), "model.activation": ("own",), "model.init": (),
    "model.dropout": (-1.0, 0.0), "optimizer.name": (), "optimizer.lr": (),
    "optimizer.weight_decay": (0.0,), "optimizer.noise": (0.0,), "optimizer.noise_decay": (1.0,),
    "optimizer.l2_init": (0.0,), "optimizer.spectral": (0.0,), "optimizer.perturb": (0.0,),
    "renewal.name": ("none",), "renewal.rate": (1e-4,), "renewal.legacy": ("none",),
    "renewal.threshold": (0.1,), "tasks.head": ("keep",), "tasks.reset": (False,),
    "tasks.reset_optimizer": (False,), "clone.factor": (1,), "clone.times": (1,), "clone.step": (),
    "clone.track": (False,), "probe.one_class": (False,),
}  # fmt: skip
PLAIN = "plain"
UNITS = (
    "dead_fraction", "dormant_fraction", "dup_fraction", "saturated_fraction", "eff_rank",
    "stable_rank", "hard_rank", "feature_norm", "weight_norm", "gradient_rank", "ntk_rank",
)  # fmt: skip
MANY_TASKS = 20  # from which on early and later changes are compared


def setting(config: dict) -> dict:
    """What is learned."""
    return {name: field(config, name) for name in SETTING}


def labels(runs: list[Run]) -> list[str]:
    """What is particular about each of some runs, in a few words.

    Args:
      runs: of one setting.

    Returns:
      Names such as `renewal=cbp` or `weight_decay=0.0001, perturb=1e-05`: the fields that differ
      between the runs or, of a single run, those that are not at their usual values; `plain` if
      there are none.
    """
    rows = [_method(run) for run in runs]
    told = differing(rows)
    if len(rows) == 1:  # a field that an older run lacks says nothing
        told = {name for name in METHOD if METHOD[name] and rows[0][name] is not None}
    found = []
    for row in rows:
        said = [name for name in METHOD if name in told and row[name] not in METHOD[name]]
        short = (name.removesuffix(".name").rpartition(".")[2] for name in said)
        words = [f"{name}={row[full]}" for name, full in zip(short, said, strict=True)]
        found.append(", ".join(words) or PLAIN)
    return found


def _method(run):
    return {name: field(run.config, name) for name in METHOD}


def task_steps(run: Run) -> int:
    """Steps of each task of a run; all where there is one task."""
    return run.config["tasks"]["steps"] or run.config["steps"]


def finished_tasks(run: Run) -> int:
    """Tasks that a run has trained to their end.

    Raises:
      RunError: none, of a run that is read before it is done.
    """
    steps = int(run.steps("scalar")[-1]) + run.config.get("scalar_bin", 1)
    if steps < task_steps(run):
        raise RunError(f"{run.path}: no task is finished at step {steps}")
    return steps // task_steps(run)


def by_task(run: Run, group: str, values: np.ndarray) -> np.ndarray:
    """A recorded quantity task by task.

    Args:
      run: an open run.
      group: `scalar`: the mean over a task's steps, so that accuracy is online accuracy; `probe`:
        the last measurement within each task.
      values: [S, T, ...]; a mean is taken over what there is besides.

    Returns:
      [S, K].
    """
    values = values.reshape(*values.shape[:2], -1).mean(-1)
    task = run.steps(group) // task_steps(run)
    mine = [np.flatnonzero(task == k) for k in range(finished_tasks(run))]
    if group == "scalar":
        return np.stack([values[:, index].mean(1) for index in mine], 1)
    return np.stack([values[:, index[-1]] for index in mine], 1)


def score(run: Run) -> np.ndarray:
    """Online accuracy of every task, or loss where there are no classes, [S, K]."""
    return by_task(run, "scalar", run.array("scalar", score_name(run)))


def score_name(run: Run) -> str:
    """What is judged: `accuracy`, or `loss` where there are no classes."""
    return "accuracy" if run.has("scalar", "accuracy") else "loss"


def early_and_late(values_SxK) -> tuple[np.ndarray, np.ndarray]:
    """Means over the second tenth of tasks (the first begins at random weights) and the last one.

    Args:
      values_SxK: one value a task.

    Returns:
      ([S], [S]).
    """
    tenth = max(values_SxK.shape[1] // 10, 1)
    start = min(tenth, values_SxK.shape[1] - 1)
    return values_SxK[:, start : start + tenth].mean(1), values_SxK[:, -tenth:].mean(1)


def task_matrix(run: Run) -> np.ndarray:
    """Accuracy on task i at the end of task t, [S, t, i], of a run that `has_matrix`.

    Evaluations within a task are left out, and so are tasks that are not finished.
    """
    ends = task_steps(run) * (1 + np.arange(finished_tasks(run)))
    rows = np.searchsorted(run.steps("eval"), ends)
    return run.array("eval", "task_accuracy")[:, rows, : len(ends)]


def has_matrix(run: Run) -> bool:
    """Whether every task was evaluated at the end of every task."""
    if not run.has("eval", "task_accuracy"):
        return False
    ends = task_steps(run) * (1 + np.arange(finished_tasks(run)))
    return bool(np.isin(ends, run.steps("eval")).all())


def remembered(matrix_SxKxK, chance: float) -> dict[str, np.ndarray]:
    """What a sequence of K tasks leaves behind.

    Forgetting is that of Chaudhry et al. 2018, https://arxiv.org/abs/1801.10112, equation 3: the
    best accuracy on a task at the end of any task before the last, less its accuracy at the end of
    the last. Backward and forward transfer are those of Lopez-Paz & Ranzato 2017,
    https://arxiv.org/abs/1706.08840, equations 3 and 4.

    Args:
      matrix_SxKxK: accuracy on task i at the end of task t, [:, t, i].
      chance: accuracy of a guess, which forward transfer is counted from.

    Returns:
      [S] each: `average_accuracy` over all tasks at the end of the last one, in [0, 1]; and for
      K > 1 three quantities in [-1, 1]. `forgetting` is a mean over all tasks but the last; it is
      negative where the last task made earlier ones better than ever. `backward_transfer` is the
      final accuracy less that at the end of the task's own training, a mean over all tasks but the
      last; `forgetting` is never less than its negative. `forward_transfer` is the accuracy right
      before a task is trained, less chance, a mean over all tasks but the first.
    """
    last_SxK = matrix_SxKxK[:, -1]
    found = {"average_accuracy": last_SxK.mean(1)}
    if last_SxK.shape[1] > 1:
        learned_SxK = np.diagonal(matrix_SxKxK, axis1=1, axis2=2)
        before = np.diagonal(matrix_SxKxK[:, :-1, 1:], axis1=1, axis2=2)
        best_SxK = matrix_SxKxK[:, :-1].max(1)
        found["forgetting"] = (best_SxK - last_SxK)[:, :-1].mean(1)
        found["backward_transfer"] = (last_SxK - learned_SxK)[:, :-1].mean(1)
        found["forward_transfer"] = before.mean(1) - chance
    return found


def measure(run: Run) -> dict[str, np.ndarray]:
    """Of each seed how it learned.

    Args:
      run: an open run of the plasticity family.

    Returns:
      [S] each: `early`, `late` and `change` of the online accuracy (of the loss, where there are
      no classes); of `dimension` and every unit measure its early and its `..._late` value; what is
      `remembered`; and of clones the final and largest `cloning_loss` and the base's
      `x1_loss_late`.
    """
    early, late = early_and_late(score(run))
    found = {"early": early, "late": late, "change": late - early}
    for name, values_SxK in unit_courses(run).items():
        found[name], found[f"{name}_late"] = early_and_late(values_SxK)
    if has_matrix(run):
        tasks = run.config["tasks"]
        few = tasks["kind"] == "classes" and tasks["masked"]
        classes = tasks["classes"] if few else run.array("probe", "class_accuracy").shape[-1]
        found |= remembered(task_matrix(run), 1 / classes)
    return found | (_cloned(run) if is_cloned(run) else {})


def is_cloned(run: Run) -> bool:
    """Whether a run has a base and clones."""
    return run.has("probe", "cloning_loss")


def _cloned(run):
    loss_SxT = run.array("probe", "cloning_loss").mean(-1)
    found = {"cloning_loss": loss_SxT[:, -1], "cloning_loss_max": loss_SxT.max(1)}
    for name in ("loss", "x1_loss"):
        values_SxT = run.array("scalar", name)
        found[f"{name}_late"] = values_SxT[:, -max(values_SxT.shape[1] // 50, 1) :].mean(1)
    for name in ("hard_rank", "x1_hard_rank"):
        found[f"{name}_end"] = run.array("probe", name)[:, -1].mean(-1)
    return found


def unit_courses(run: Run) -> dict[str, np.ndarray]:
    """D and every recorded unit measure task by task, [S, K] each, means over layers."""
    courses = {name: run.array("probe", name) for name in UNITS if run.has("probe", name)}
    courses = {"dimension": run.dimension(gaps=True)} | courses
    return {name: by_task(run, "probe", values) for name, values in courses.items()}


def table(members: list[Run]) -> list[dict]:
    """One row a run of a setting, compared with the plain one among them seed by seed.

    Args:
      members: open runs of one setting.

    Returns:
      Rows with `method`, `run`, `n` seeds, `score` (what `early` and `late` are of); of every
      measure its mean and `..._half` of its interval; `over_plain`, the difference of `late` from
      the plain run of the same network, with half width and p of an exact sign-flip test.
    """
    measured, methods = [measure(run) for run in members], [_method(run) for run in members]
    told = differing(methods)
    rows = []
    for i, (run, name) in enumerate(zip(members, labels(members), strict=True)):
        row = {"method": name, "run": run.name, "n": len(run.seeds), "score": score_name(run)}
        for key, values_S in measured[i].items():
            row[key], row[f"{key}_half"] = interval(values_S)
        j = _reference(i, members, methods, told)
        if j is not None:
            apart = measured[i]["late"] - measured[j]["late"]
            row["over_plain"], row["over_plain_half"] = interval(apart)
            row["over_plain_p"] = sign_flip_p(apart)
        rows.append(row)
    return rows


def _reference(i, members, methods, told):
    """The run that differs from this one in nothing but mitigations and has none."""
    for j, (run, row) in enumerate(zip(members, methods, strict=True)):
        plain = all(row[n] in METHOD[n] if METHOD[n] else row[n] == methods[i][n] for n in told)
        if plain and j != i and run.seeds == members[i].seeds:
            return j
    return None


def early_signs(members: list[Run]) -> list[dict]:
    """Which quantity's early change goes with a later loss of plasticity, over runs and seeds.

    Early: from the second task to a quarter of them. Later: from there to the last tenth.

    Args:
      members: open runs of one setting.

    Returns:
      A row a quantity, the score itself among them: `rho`, Spearman's correlation of its early
      change with the later change of the score; `given_score`, the same with the score's own early
      change taken out; `..._low` and `..._high`, 95 % intervals by leaving out one run with all its
      seeds after another. None of fewer than 20 tasks or 12 runs:
      a correlation over fewer runs is not told from none.
    """
    tasks = min(finished_tasks(run) for run in members)
    if tasks < MANY_TASKS or len(members) < LEAST_CORRELATED:
        return []
    changes = [early_changes(run) for run in members]
    rows = []
    for name in changes[0]:
        if name == "later" or not all(name in found for found in changes):
            continue
        row = {"quantity": name, "runs": len(members)}
        for kind, given in (("rho", None), ("given_score", "score")):
            if name != given:
                row[kind], row[f"{kind}_low"], row[f"{kind}_high"] = _rho_interval(
                    changes, name, given
                )
        rows.append(row)
    return rows


def _rho_interval(changes, name, given):
    """Spearman's rho with the jackknife interval of its Fisher transform, over runs."""
    n = len(changes)
    rho = _rho(changes, name, given)
    # A perfect correlation has no finite transform.
    z, *without = (
        np.arctanh(np.clip(r, -0.999, 0.999))
        for r in (rho, *(_rho(changes[:i] + changes[i + 1 :], name, given) for i in range(n)))
    )
    half = interval(n * z - (n - 1) * np.array(without))[1]
    return rho, float(np.tanh(z - half)), float(np.tanh(z + half))


def early_changes(run: Run) -> dict[str, np.ndarray]:
    """Of each seed the early change of every quantity, and the `later` one of the score, [S]."""
    online = score(run)
    quarter = online.shape[1] // 4
    width = max(quarter // 4, 1)
    found = {
        name: values[:, quarter - width : quarter].mean(1) - values[:, 1 : 1 + width].mean(1)
        for name, values in ({"score": online} | unit_courses(run)).items()
    }
    # From other tasks than the early change ends with, or noise in these would go with both.
    later = early_and_late(online)[1] - online[:, quarter : quarter + width].mean(1)
    return found | {"later": later}


def _rho(changes, name, given):
    """Spearman's rho over all seeds of some runs; partial, by ranks, where something is given."""
    x, y = (np.concatenate([found[key] for found in changes]) for key in (name, "later"))
    if not (np.ptp(x) and np.ptp(y)):
        return np.nan
    x, y = stats.rankdata(x), stats.rankdata(y)
    if given:
        z = stats.rankdata(np.concatenate([found[given] for found in changes]))
        x, y = (a - np.polyval(np.polyfit(z, a, 1), z) for a in (x, y))
    return float(np.corrcoef(x, y)[0, 1])
