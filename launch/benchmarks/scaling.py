"""Costs of a sweep besides training: workers, devices, files and messages."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from configs.tap import calibration
from launch.status import survey
from tapjax.contract.layout import write_json
from tapjax.sweep import engines
from tapjax.sweep.jobs import finished, make_job

RUNS, MANY = 8, 1000
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"  # each worker computes on one core
STEPS = 4000  # of each run of the sweep, about ten seconds


def scaling(turns: int) -> list[dict]:
    """Measure what a sweep costs besides training.

    Measured are a sweep by one process and by one and two Dask workers, the seeds of a run over one
    and two devices, and the load of 1,000 runs on the file system and the scheduler.

    Args:
      turns: not used.

    Returns:
      One row per measurement: `what` was measured, `seconds` (None for sizes) and `of`, the size or
      the amount of work.
    """
    del turns
    os.environ["XLA_FLAGS"] = ONE_THREAD  # before JAX starts, here and in the workers
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        return [
            *_sweeps(scratch),
            *(_devices(scratch / f"over_{n}", n) for n in (1, 2)),
            *_bookkeeping(scratch),
            _messages(),
        ]


def _config(seed_block):
    config = calibration.get_config(f"arch=mlp_medium_5,seeds=1,steps={STEPS}")
    config.seeds = (seed_block,)
    return config


def _sweeps(scratch):
    """Time the same runs by different engines, after a run that fills the compilation cache."""
    from distributed import LocalCluster

    def timed(what, folder, engine, runs=RUNS):
        jobs = [make_job(f"run_{i}", _config(i), scratch / folder) for i in range(runs)]
        start = time.monotonic()
        ended = [result.status for result in engines.carry_out(jobs, engine)]
        assert ended == ["DONE"] * runs
        return _row(f"{what}: {runs} runs", start, f"{STEPS} steps each")

    timed("warm", "warm", engines.local(), 1)
    yield timed("local engine", "local", engines.local())
    for workers in (1, 2):
        with LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster:
            engine = engines.dask(cluster.scheduler_address)
            jobs = [
                make_job(f"warm_{i}", _config(i), scratch / f"w{workers}") for i in range(workers)
            ]
            list(engines.carry_out(jobs, engine))  # imports JAX in every worker
            yield timed(f"dask, workers: {workers}", f"dask_{workers}", engine)


def _devices(path, devices):
    """Time four seeds of a run over virtual devices of the processor."""
    flags = f"{ONE_THREAD} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-m", "launch.run", "--config=configs/tap/calibration.py:seeds=4"]
    command += [
        "--config.over_seeds=shard",
        "--config.model.name=mlp_verywide",
        f"--workdir={path}",
    ]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"XLA_FLAGS": flags})
    log = (path / "log.txt").read_text().splitlines()
    first, last = (_seconds(next(li for li in log if what in li)) for what in ("start at", "DONE"))
    return {
        "what": f"4 seeds over devices: {devices}",
        "seconds": last - first,
        "of": "2000 steps of mlp_verywide, compilation included",
    }


def _seconds(line):
    hours, minutes, seconds = map(int, line.split()[1].split(":"))
    return 3600 * hours + 60 * minutes + seconds


def _bookkeeping(scratch):
    """Time how long it takes to read the states of 1,000 runs; measure the files of one run."""
    folder = scratch / "many"
    jobs = [make_job(f"run_{i}", _config(i), folder) for i in range(MANY)]
    for job in jobs:
        job.path.mkdir(parents=True)
        write_json(job.path / "config.json", job.config)
        write_json(job.path / "STATUS.json", {"status": "DONE", "step": STEPS, "reason": ""})
    start = time.monotonic()
    assert all(map(finished, jobs))
    yield _row(f"which of {MANY} runs are done", start, "directories")
    start = time.monotonic()
    survey(folder)
    yield _row(f"launch.status of {MANY} runs", start, "directories")
    run = scratch / "local" / "run_0"
    files = [path for path in run.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    written = len(list((run / "records").iterdir())) + STEPS // 500
    yield {
        "what": "a run on disk",
        "seconds": None,
        "of": f"{len(files)} files, {size / 1e6:.2g} MB; {written} records and checkpoints written",
    }
    yield {
        "what": "a job as a message",
        "seconds": None,
        "of": f"{len(json.dumps(jobs[0]))} bytes of JSON",
    }


def _messages():
    """Time empty tasks that pass through a scheduler and one worker."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.submit(abs, -1).result()
        start = time.monotonic()
        client.gather([client.submit(abs, i, pure=False) for i in range(MANY)])
        return _row(f"{MANY} empty tasks", start, "messages of a scheduler and one worker")


def _row(what, start, of):
    return {"what": what, "seconds": round(time.monotonic() - start, 2), "of": of}
