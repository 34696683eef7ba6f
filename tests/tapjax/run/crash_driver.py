"""Train the tiny config in a process of its own and die where the test says.

    python -m tests.tapjax.run.crash_driver WORKDIR PLACE

PLACE: `none`; `record:N` (after the Nth record is written, before its checkpoint);
`before:N` (before the Nth record); `checkpoint:N` (10 ms into the Nth checkpoint); `commit:N`
(when all of the Nth checkpoint is written, but its final name); `time:SECONDS` after the first
record. `term:N`: SIGTERM to itself while the Nth chunk runs. `hold:N`: before the Nth record it
says so and waits to be killed, or for SIGCONT.
"""

import os
import signal
import sys
import threading
import time

from orbax.checkpoint._src.path.atomicity import AtomicRenameTemporaryPath

from tapjax.run import loop
from tapjax.store import checkpoint, rundir
from tests.conftest import tiny


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def install(place, count):
    write, save = rundir.RunDir.write_record, checkpoint.save
    finalize = AtomicRenameTemporaryPath.finalize
    seen = {"record": 0, "checkpoint": 0}

    def write_record(self, first, arrays):
        seen["record"] += 1
        if place == "before" and seen["record"] == count:
            die()
        if place == "term" and seen["record"] == count:
            os.kill(os.getpid(), signal.SIGTERM)
        if place == "hold" and seen["record"] == count:
            woken = []
            signal.signal(signal.SIGCONT, lambda *_: woken.append(True))
            print("holding", flush=True)
            while not woken:
                time.sleep(0.05)
        if place == "time" and seen["record"] == 1:
            threading.Timer(count, die).start()
        write(self, first, arrays)
        if place == "record" and seen["record"] == count:
            die()

    def save_checkpoint(*args):
        seen["checkpoint"] += 1
        if place == "checkpoint" and seen["checkpoint"] == count:
            threading.Timer(0.01, die).start()
        save(*args)

    async def commit(self):
        if place == "commit" and self.get_final().name.isdigit() and seen["checkpoint"] == count:
            die()
        return await finalize(self)

    rundir.RunDir.write_record, checkpoint.save = write_record, save_checkpoint
    AtomicRenameTemporaryPath.finalize = commit


if __name__ == "__main__":
    workdir, where = sys.argv[1:]
    place, _, count = where.partition(":")
    install(place, float(count or 0))
    try:
        outcome = loop.run(tiny.__wrapped__(), workdir)
    except rundir.RunDirError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(outcome)
    sys.exit(75 if outcome.status == "PREEMPTED" else 0)
