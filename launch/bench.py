"""Measure speed as ratios: our loop against PyTorch, plain JAX and the floor, and against itself.

    tapjax bench --suite=all --out=docs/results/bench

Both sides of a ratio are measured in the same session. Each side is a separate process, pinned to
one core with one thread, and the sides take turns. A ratio is the median over turns of the ratio of
two CPU times that are measured directly after one another. The suites measure, online and recorder
need the extra [bench] (PyTorch). The suite edm needs pyEDM (extra [test]).

Six suites are not part of all. soak kills runs at random times and stream records the memory of a
run of a million steps; each takes a quarter of an hour. scaling measures sweeps, devices, files and
messages; it takes a few minutes and needs the extra [cluster]. validity measures the rates of false
and missed claims of every analysis on data whose truth is known; it takes about an hour.
accelerator measures wall times on a device other than the CPU, which it needs. instruments measures
the cost of every measure of `tapjax measure`, and takes a quarter of an hour.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags

from launch.benchmarks.accelerator import accelerator
from launch.benchmarks.accuracy import metrics
from launch.benchmarks.instruments import instruments
from launch.benchmarks.scaling import scaling
from launch.benchmarks.soak import soak
from launch.benchmarks.stream import stream
from launch.benchmarks.tables import markdown
from launch.benchmarks.validity.suite import validity
from launch.flags import main
from tapjax.contract.layout import write_text

OUT = flags.DEFINE_string("out", "out/bench", "Folder to write bench.json and bench.md in.")
TURNS = flags.DEFINE_integer("turns", 5, "Number of alternating turns per comparison.")

# Steps per turn, about one second of work.
STEPS = {"mlp_medium_5": 400, "mlp_verywide": 60, "transformer_shallow": 20, "cnn_medium": 20}
# Goals: competent PyTorch / ours, and ours / floor without measurements.
GOALS = {
    "mlp_medium_5": (3, 1.35),
    "mlp_verywide": (1.5, 1.35),
    "transformer_shallow": (1.4, 1.35),
    "cnn_medium": (1.05, 1.5),
}
CREDITS = ("dfa", "dir", "drtp", "local_loss", "local_forward_gradient", "pepita")
CREDITS += ("feedback_alignment", "kolen_pollack", "weight_mirror", "sign_symmetry")
CREDITS += ("learned_dfa", "forward_gradient", "target_propagation", "state_bridge")
CREDITS += ("scalar_bridge", "vector", "vector_bilinear", "vector_chain", "vector_response")
MATRIX_PAIRS = 30 * 29 // 2  # pairs of 30 variables
DEFAULT_PROBE = {"size": 512, "tokens": "rows", "centred": True}


class Worker:
    """One side of a comparison, in a process that waits for its turn."""

    def __init__(self, **task):
        self.steps = task["steps"] * task.get("seeds", 1)
        command = [sys.executable, "-m", "launch.benchmarks.workers", json.dumps(task)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise OSError(f"benchmark side failed with exit code {self.process.returncode}")
        return json.loads(line)

    def turn(self) -> dict:
        """Run once and return the CPU and wall milliseconds per step and seed."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return {name: 1e3 * value / self.steps for name, value in self._answer().items()}

    def close(self) -> None:
        self.process.communicate()


def take_turns(turns: int, **sides: dict) -> dict[str, list[dict]]:
    """Let several workers take turns.

    Args:
      turns: number of turns of each side.
      **sides: name -> task, the JSON argument of `launch.benchmarks.workers`.

    Returns:
      Name -> list of one {"cpu", "wall"} per turn, in ms per step and seed.
    """
    workers = {name: Worker(**task) for name, task in sides.items()}
    taken = {name: [] for name in workers}
    for _ in range(turns):
        for name, worker in workers.items():
            taken[name].append(worker.turn())
    for worker in workers.values():
        worker.close()
    return taken


def compare(taken, slow: str, fast: str) -> dict:
    """Compute the ratio slow / fast of the CPU times of each turn, and the medians of both sides.

    Args:
      taken: times from `take_turns`.
      slow: name of side a, the numerator.
      fast: name of side b, the denominator.

    Returns:
      A row with the median `ratio` over turns, its `min` and `max`, and for each side the median
      CPU and wall time in ms, such as `a_cpu_ms`.
    """
    ratios = [a["cpu"] / b["cpu"] for a, b in zip(taken[slow], taken[fast], strict=True)]
    row = {"ratio": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    for side, name in (("a", slow), ("b", fast)):
        for clock in ("cpu", "wall"):
            row[f"{side}_{clock}_ms"] = statistics.median(t[clock] for t in taken[name])
    return row


def measure(turns: int) -> list[dict]:
    """Compare our loop with other loops and with the least that a loop has to do.

    All of them measure the same matrices every 5 steps, or none.
    """
    rows = []
    for arch, steps in STEPS.items():
        task = {"arch": arch, "steps": steps}
        sides = {
            "plain PyTorch": {"side": "torch"},
            "competent PyTorch": {"side": "torch", "competent": True},
            "plain JAX": {"side": "plain_jax"},
            "ours": {"side": "ours"},
            "floor": {"side": "floor"},
            "competent PyTorch, unmeasured": {"side": "torch", "competent": True, "every": 0},
            "ours, unmeasured": {"side": "ours", "every": 0},
            "floor, unmeasured": {"side": "floor", "every": 0},
        }
        taken = take_turns(turns, **{name: task | side for name, side in sides.items()})
        against, floor = GOALS[arch]
        for slow, fast, goal in (
            ("plain PyTorch", "ours", None),
            ("competent PyTorch", "ours", against),
            ("plain JAX", "ours", None),
            ("ours", "floor", None),
            ("competent PyTorch, unmeasured", "ours, unmeasured", None),
            ("ours, unmeasured", "floor, unmeasured", f"<= {floor}"),
        ):
            name = f"{arch}: {slow} / {fast}"
            rows.append({"what": name, "goal": goal, **compare(taken, slow, fast)})
    taken = take_turns(
        turns,
        scan={"side": "ours", "arch": "cnn_medium", "steps": 20, "every": 0},
        unrolled={"side": "unrolled", "arch": "cnn_medium", "steps": 20},
    )
    name = "cnn_medium: step in scan / unrolled step"
    return [*rows, {"what": name, "goal": "<= 1.3", **compare(taken, "scan", "unrolled")}]


def overhead(turns: int) -> list[dict]:
    """Measure the cost of the default probe: 512 examples, with centred spectra."""
    rows = []
    for arch, steps in STEPS.items():
        task = {"side": "ours", "arch": arch, "steps": max(steps, 100)}
        sides = {f"every_{k}": task | DEFAULT_PROBE | {"every": k} for k in (5, 20, 100)}
        taken = take_turns(turns, none=task | {"every": 0}, **sides)
        rows += [
            {
                "what": f"{arch}: measured {side.replace('_', ' ')} / unmeasured",
                **compare(taken, side, "none"),
            }
            for side in sides
        ]
    return rows


def seeds(turns: int) -> list[dict]:
    """Compare seeds one after another with seeds together; above 1, together is faster."""
    rows = []
    for arch in ("mlp_medium_5", "mlp_verywide", "transformer_shallow"):
        task = {"side": "ours", "arch": arch, "steps": STEPS[arch]}
        for count in (1, 3, 8):
            together = task | {"seeds": count, "over_seeds": "vmap"}
            taken = take_turns(turns, alone=task, together=together)
            what = f"{arch}: {count} alone / {count} by vmap, a seed"
            rows.append({"what": what, **compare(taken, "alone", "together")})
    return rows


def credit(turns: int) -> list[dict]:
    """Compare a training step of each credit method with one of backprop.

    Seeds one after another are also compared with seeds together.
    """
    rows = []
    task = {"side": "credit", "steps": 20, "depth": 8, "width": 256, "skip": 0.0, "scale": 1.0}
    sides = {name: task | {"method": name} for name in ("bp", *CREDITS)}
    taken = take_turns(turns, **sides)
    for name in CREDITS:
        rows.append({"what": f"{name} / backprop, L=8, d=256", **compare(taken, name, "bp")})
    for experiment, steps, sizes, size in (
        ("lq", 500, {}, "L=8, d=8"),
        ("ladder", 50, {"depth": 4, "width": 32}, "L=4, d=32"),
        ("ladder", 50, {"depth": 4, "width": 128}, "L=4, d=128"),
        ("online", 20, {"depth": 4, "width": 256}, "L=4, d=256"),
    ):
        task = {"side": "credit", "experiment": experiment, "steps": steps, **sizes}
        for method in ("dfa", "vector_response"):
            alone = task | {"method": method}
            together = alone | {"seeds": 3, "over_seeds": "vmap"}
            taken = take_turns(turns, alone=alone, together=together)
            what = f"{experiment}, {size}, {method}: 3 seeds alone / 3 by vmap, a seed"
            rows.append({"what": what, "goal": 1.3, **compare(taken, "alone", "together")})
    return rows


def online(turns: int) -> list[dict]:
    """Compare a plain PyTorch loop with our scan at batch size 1, per example and seed."""
    rows = []
    for task, steps, counts in (("bits", 2000, (1, 30)), ("permuted MNIST", 500, (1, 5))):
        sides = {
            str(n): {"side": "online", "task": task, "steps": steps, "seeds": n} for n in counts
        }
        plain = {"side": "torch_online", "task": task, "steps": steps}
        taken = take_turns(turns, plain=plain, **sides)
        for side in sides:
            what = f"{task}: PyTorch / ours, seeds: {side}"
            rows.append({"what": what, "goal": 20, **compare(taken, "plain", side)})
    return rows


def edm(turns: int) -> list[dict]:
    """Compare pyEDM with our cross mapping, S-maps and simplex projection, one process each."""
    rows = []
    for task, length, goal in (
        ("ccm", 1000, 8), ("ccm", 3000, 8), ("ccm", 10_000, 6), ("smap", 1000, None),
        ("smap", 3000, 20), ("smap", 10_000, 20), ("simplex", 3000, None), ("matrix", 1000, 100),
    ):  # fmt: skip
        sides = {
            name: {"side": name, "task": task, "length": length, "steps": 1}
            for name in ("pyedm", "edm")
        }
        row = compare(take_turns(turns, **sides), "pyedm", "edm")
        if task == "matrix":
            # pyEDM is measured on one pair, in both directions; its times are scaled to all pairs.
            row |= {key: MATRIX_PAIRS * row[key] for key in row if not key.startswith("b_")}
        rows.append({"what": f"{task}, {length} points: pyEDM / ours", "goal": goal, **row})
    return rows


def recorder(turns: int) -> list[dict]:
    """Compare loops of PyTorch and JAX that record with loops that only measure, and with none."""
    rows = []
    for library in ("torch", "jax"):
        for every, steps, goal in ((5, 500, None), (100, 2000, "<= 1.03")):
            task = {"side": "recorded", "library": library, "steps": steps, "every": every}
            sides = {what: task | {"what": what} for what in ("plain", "measured", "recorded")}
            taken = take_turns(turns, **sides)
            for slow, fast, wanted in (("recorded", "measured", goal), ("measured", "plain", None)):
                what = f"{library}, every {every} steps: {slow} / {fast}"
                rows.append({"what": what, "goal": wanted, **compare(taken, slow, fast)})
    return rows


def start(turns: int) -> list[dict]:
    """Compare the whole process of a quick run with a warm and with a cold compilation cache."""
    rows = []
    for arch in ("mlp_medium_5", "transformer_shallow"):
        taken = {"warm": [], "cold": []}
        for _ in range(turns):
            with tempfile.TemporaryDirectory() as scratch:
                for side in ("cold", "warm"):
                    taken[side].append(_quick_run(arch, Path(scratch), side))
        row = compare(taken, "warm", "cold")
        rows.append({"what": f"{arch}: warm start / cold start", "goal": "<= 0.3", **row})
    return rows


def _quick_run(arch, scratch, name):
    """Return CPU and wall ms of a run of 5 steps, which is mostly start and compilation."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock = os.times().elapsed
    subprocess.run(
        [
            sys.executable,
            "-m",
            "launch.run",
            f"--config=configs/tap/calibration.py:quick,arch={arch},seeds=1",
            "--config.steps=5",
            "--config.chunk_steps=5",
            f"--workdir={scratch / name}",
        ],
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(scratch / "cache")},
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": 1e3 * cpu, "wall": 1e3 * (os.times().elapsed - clock)}


SUITES = {
    "measure": measure,
    "overhead": overhead,
    "seeds": seeds,
    "credit": credit,
    "online": online,
    "recorder": recorder,
    "edm": edm,
    "start": start,
    "metrics": metrics,
}
# These suites are not part of all: they take long, or need an accelerator.
LONG = {"soak": soak, "stream": stream, "scaling": scaling, "validity": validity}
LONG |= {"accelerator": accelerator, "instruments": instruments}
SUITE = flags.DEFINE_multi_enum(
    "suite",
    ["all"],
    ["all", *SUITES, *LONG],
    "Suite to run; may be given several times. all leaves out the long ones (validity, soak, "
    "stream, scaling, instruments) and accelerator, which needs one.",
)


def machine() -> dict:
    """Return the properties of the machine and the versions that the numbers depend on."""
    from importlib import metadata

    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(": ")[2] if lines else model
    versions = {}
    for name in ("jax", "jaxlib", "torch", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"processor": model, "cores": os.cpu_count(), "load": os.getloadavg()[0], **versions}


def peaks() -> list[dict]:
    """Measure matrix products of both libraries, in 10^9 operations per second, one thread."""
    rows = []
    for side in ("peak_xla", "peak_torch"):
        for m, k, n in ((1024, 1024, 1024), (64, 784, 512)):
            worker = Worker(side=side, steps=1, m=m, k=k, n=n)
            speed = max(2e-6 * m * k * n * 100 / worker.turn()["cpu"] for _ in range(3))
            worker.close()
            rows.append({"library": side[5:], "shape": f"{m}x{k}x{n}", "gflops": speed})
    return rows


def _platform() -> str:
    import jax

    return jax.default_backend()


def body() -> int:
    """Run the suites, write the results after each suite and return the exit code."""
    names = tuple(SUITES) if "all" in SUITE.value else tuple(SUITE.value)
    out = Path(OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    if {"measure", "online", "recorder"} & set(names) and machine()["torch"] == "not installed":
        print("error: this suite needs PyTorch: pip install '.[bench]'", file=sys.stderr)
        return 2
    if "accelerator" in names and _platform() == "cpu":
        print("error: --suite=accelerator: JAX finds no device but the CPU", file=sys.stderr)
        return 2
    result = {
        "command": f"tapjax bench --suite={' --suite='.join(SUITE.value)} --turns={TURNS.value}",
        "machine": machine(),
        "peaks": peaks() if "measure" in names else [],
        "suites": {},
    }
    for name in names:
        result["suites"][name] = (SUITES | LONG)[name](TURNS.value)
        write_text(out / "bench.json", json.dumps(result, indent=1) + "\n")
        write_text(out / "bench.md", markdown(result))
        print(markdown({**result, "suites": {name: result["suites"][name]}}), flush=True)
    return 0


if __name__ == "__main__":
    main(body)
