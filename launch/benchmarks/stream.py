"""Memory that it takes to record and to read a million steps of a network of 200 layers."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARTS = 10  # parts of the run; its memory is noted at the end of each
LAYERS = 200


def stream(turns: int, steps: int = 1_000_000) -> list[dict]:
    """Measure the resident memory of a long run during training, and of reading it afterwards.

    Args:
      turns: not used.
      steps: training steps of the run.

    Returns:
      One row per tenth of the run: step, resident MB, MB of records so far and seconds. Then one
      row for each way to read the records.
    """
    del turns
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        rows = _train(run, steps)
        size = _megabytes(run / "records")
        for what in READ:
            resident, seconds = _read(run, what)
            rows.append(
                {"what": what, "step": steps, "rss_mb": resident, "mb": size, "seconds": seconds}
            )
        return rows


def _train(run, steps):
    fields = {
        "steps": steps, "chunk_steps": 2000, "eval_every": 0, "seeds": "(0,)",
        "model.name": f"mlp:depth={LAYERS - 1},width=2", "data.batch_size": 1,
        "data.train_size": 500, "data.test_size": 100, "probe.every": 10, "probe.size": 8,
        "probe.centred": False, "checkpoint.every": 20_000,
    }  # fmt: skip
    command = [sys.executable, "-m", "launch.run", "--config=configs/tap/calibration.py"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    start, rows = time.monotonic(), []
    process = subprocess.Popen(
        [*command, f"--workdir={run}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        step, resident = _step(run), _resident(process.pid)
        if step >= steps * (len(rows) + 1) / PARTS and resident:
            row = {"what": "training", "step": step, "rss_mb": resident}
            row |= {"mb": _megabytes(run / "records"), "seconds": time.monotonic() - start}
            rows.append({k: round(v) if isinstance(v, float) else v for k, v in row.items()})
        time.sleep(0.2)
    if process.returncode:
        raise OSError(f"stream: the run ended with exit code {process.returncode}")
    return rows


READ = {
    "import only": "",
    "open_run": "run = open_run(path)",
    "D(t)": "run = open_run(path); run.dimension()",
    "one metric of all layers": "run = open_run(path); run.array('probe', 'stable_rank')",
    "loss": "run = open_run(path); run.array('scalar', 'loss')",
}


def _read(run, what):
    code = (
        "import resource, sys, time\nfrom analysis import open_run\n"
        f"path, start = sys.argv[1], time.monotonic()\n{READ[what]}\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic() - start)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True
    )
    kilobytes, seconds = result.stdout.split()
    return round(int(kilobytes) / 1e3), round(float(seconds), 1)


def _step(run):
    status = run / "STATUS.json"
    return json.loads(status.read_text())["step"] if status.exists() else 0


def _resident(pid):
    """Return the resident megabytes of a process, 0 if it no longer exists."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def _megabytes(folder):
    return round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6)
