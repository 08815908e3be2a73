"""What a worker costs that has nothing to do: from its start to ready, CPU, memory, next to a bare Celery worker.

python -m benchmarks.idle [--rounds 5] [--seconds 10]

Ready is when the first job can be run: Celery's consumer is up, and for ours the account is owned and its bridge ready too.
A bridge says every 3 s that it is logged in, and a worker waits for that; while a worker starts it says so at once here, so that
the figure is the worker's own. All run compiled code, as in production.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter, sleep
from typing import Final

from benchmarks.processes import children, cpu_seconds, resident_megabytes
from benchmarks.rivals import our_worker, worker_by_hand
from benchmarks.rounds import LEAST_ROUNDS, Figures, Report, at_least, in_turn, ratios, seconds
from benchmarks.stage import OFF, Stage, open_stage

GOAL_START_SECONDS: Final = 1.0
THREADS: Final = 128
#: Between two words of the bridge that it is logged in: its own rhythm, and while a worker starts.
BEAT_SECONDS: Final = 3.0
BEAT_AT_START_SECONDS: Final = 0.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=5)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="how long each is left idle")
    given = parser.parse_args()
    report = Report("A worker that has nothing to do (SQLite)")
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    with open_stage("sqlite", 40, 0.0, LIMITS=json.dumps(OFF)) as stage:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(stage.folder / "compiled")
        figures = in_turn(
            given.rounds,
            observe(stage, "worker68", lambda: our_worker(stage, "worker68"), given.seconds),
            observe(
                stage, "bare Celery", lambda: worker_by_hand(stage, "noop", "bare Celery", THREADS, 1), given.seconds
            ),
        )
    for what, unit, digits in (
        ("start to ready", "s", 2),
        ("CPU of the start", "s", 2),
        ("idle CPU", "%", 2),
        ("memory (RSS)", "MB", 0),
    ):
        for name in ("worker68", "bare Celery"):
            report.figure(f"{name}, {what}", figures[f"{name} {what}"], unit, digits)
        others = figures[f"bare Celery {what}"]
        if all(others):  # a worker may use less CPU than the kernel's clock shows
            report.figure(f"{what}: ratio", ratios(figures[f"worker68 {what}"], others), "", 2)
    start = sorted(figures["worker68 start to ready"])[given.rounds // 2]
    report.goal("worker68, start to ready", start, at_most=GOAL_START_SECONDS)
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


def observe(
    stage: Stage, name: str, start: Callable[[], AbstractContextManager[object]], seconds: float
) -> Callable[[], Figures]:
    def measure() -> Figures:
        stage.bridge.heartbeat_seconds = BEAT_AT_START_SECONDS
        sleep(BEAT_SECONDS)  # until the last beat of the other rhythm
        before = children()
        began = perf_counter()
        with start():
            ready = perf_counter() - began
            (pid,) = children() - before
            start_cpu = cpu_seconds(pid)
            stage.bridge.heartbeat_seconds = BEAT_SECONDS
            sleep(1.0)
            before_rest = cpu_seconds(pid)
            sleep(seconds)
            used = (cpu_seconds(pid) - before_rest) / seconds * 100
            resident = resident_megabytes(pid)
        return {
            f"{name} start to ready": ready,
            f"{name} CPU of the start": start_cpu,
            f"{name} idle CPU": used,
            f"{name} memory (RSS)": resident,
        }

    return measure


if __name__ == "__main__":
    sys.exit(main())
