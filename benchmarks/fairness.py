"""Fairness: what a chat with 10,000 waiting jobs at its limit costs the other chats and the database.

    python3 -m benchmarks.fairness [--rounds 5] [--seconds 10] [--waiting 10000] [--database postgresql|sqlite]

In each round one worker serves other chats at a mean rate, once with and once without the full chat, in turns as to which comes
first. Their jobs come at random times, the same in both parts: evenly spaced ones would meet the jobs of the full chat, which leave
once a second, either always or never. Measured: from the push of a job to its frame at the bridge, p95; the worker's SQL statements
for each job that it sent; its memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from benchmarks.arrivals import arrival_times
from benchmarks.processes import resident_megabytes
from benchmarks.rounds import LEAST_ROUNDS, Report, at_least, percentile, ratios, seconds
from benchmarks.stage import OFF, Stage, open_stage, to
from tests.parts.worker import WorkerProcess, wait_until
from worker68.clock import monotonic, utc_now
from worker68.jobs.outcome import cancelled
from worker68.jobs.states import Event, State
from worker68.store.engine import reading
from worker68.store.tables import jobs
from worker68.store.waiting import end_waiting

OTHERS = 40
PER_SECOND = 10
GOAL = 1.2
#: A new job to the full chat may go once a second; to each of the others there is one every four seconds.
LIMITS = json.dumps(OFF | {"chat": "60/m"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=LEAST_ROUNDS)
    parser.add_argument("--seconds", type=seconds, default=10.0)
    parser.add_argument("--waiting", type=at_least(1), default=10_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    given = parser.parse_args()
    report = Report(f"Fairness: a chat with {given.waiting:,} waiting jobs at its limit, {given.database}")
    figures: dict[str, list[float]] = {}
    for number in range(given.rounds):
        with open_stage(given.database, OTHERS + 1, 0.2, LIMITS=LIMITS, MAX_IN_FLIGHT=32) as stage:
            for name, figure in run(stage, number, given.seconds, given.waiting).items():
                figures.setdefault(name, []).append(figure)
    report.figure("others without it, p50", figures["p50 without"], "ms")
    report.figure("others with it, p50", figures["p50 with"], "ms")
    report.figure("others without it, p95", figures["p95 without"], "ms")
    report.figure("others with it, p95", figures["p95 with"], "ms")
    report.figure("statements a job without it", figures["statements without"], "", 1)
    report.figure("statements a job with it", figures["statements with"], "", 1)
    report.figure("memory of the worker without it", figures["memory without"], "MB")
    report.figure("memory of the worker with it", figures["memory with"], "MB")
    share = report.figure("p95 with to without", ratios(figures["p95 with"], figures["p95 without"]), "", 2)
    report.goal("p95 of the others, with to without", share, at_most=GOAL)
    return report.exit_code


def run(stage: Stage, number: int, seconds: float, waiting: int) -> dict[str, float]:
    """Return the figures of the round with this number."""
    counts = stage.folder / "statements.json"
    worker = stage.worker("worker", (sys.executable, "-m", "benchmarks.counted_worker", str(counts)))
    figures: dict[str, float] = {}

    def measure(name: str) -> None:
        for what, figure in serve_others(
            stage, worker, counts, arrival_times(seconds, PER_SECOND, seed=number)
        ).items():
            figures[f"{what} {name}"] = figure

    try:
        worker.start()
        worker.wait_ready()
        serve_others(stage, worker, counts, arrival_times(2.0, PER_SECOND, seed=0))  # warms up
        steps: list[tuple[str, Callable[[], None]]] = [
            ("without", lambda: empty_chat(stage)),
            ("with", lambda: fill_chat(stage, worker, waiting)),
        ]
        for name, prepare in reversed(steps) if number % 2 else steps:
            prepare()
            measure(name)
        return figures
    finally:
        worker.kill()


def fill_chat(stage: Stage, worker: WorkerProcess, waiting: int) -> None:
    full = stage.friends[-1]
    stage.push(to(full, f"waiting {number}") for number in range(waiting))
    wait_until(lambda: stage.redis.llen("worker68.main") == 0, lambda: worker.last_words, seconds=120)


def empty_chat(stage: Stage) -> None:
    with reading(stage.engine) as connection:
        seqs = list(connection.scalars(select(jobs.c.seq).where(jobs.c.state == State.READY)))
    end_waiting(stage.engine, seqs, Event.CANCEL, cancelled("end of this part"), utc_now())


def serve_others(stage: Stage, worker: WorkerProcess, counts: Path, times: list[float]) -> dict[str, float]:
    """Push jobs to the other chats at these times; return how long they took, and what they cost."""
    mark, pushed = f"part-{monotonic()}", dict[str, float]()
    statements, sent = read_counts(counts), len(stage.sends())
    began = monotonic()
    for number, at in enumerate(times):
        time.sleep(max(0.0, began + at - monotonic()))
        text = f"{mark} {number}"
        pushed[text] = monotonic()
        stage.push([to(stage.friends[number % OTHERS], text)])
    wait_until(lambda: len(arrivals(stage, mark)) == len(pushed), lambda: worker.last_words, seconds=60)
    took = [(at - pushed[text]) * 1000 for text, at in arrivals(stage, mark).items()]
    return {
        "p50": percentile(took, 0.5),
        "p95": percentile(took, 0.95),
        "statements": (read_counts(counts) - statements) / (len(stage.sends()) - sent),
        "memory": resident_megabytes(worker.pid),
    }


def arrivals(stage: Stage, mark: str) -> dict[str, float]:
    found = {}
    for one in stage.sends():
        text = one.frame["data"]["list"][0]["values"]["content"]
        if text.startswith(mark):
            found[text] = one.at
    return found


def read_counts(counts: Path) -> int:
    """Return how many statements the worker has made so far; what a transaction is begun and ended with is not one of them."""
    return sum(json.loads(counts.read_text()).values()) if counts.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
