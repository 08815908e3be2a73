"""How long one job takes on an idle worker, from the push to the reply, next to a task that does nothing in bare Celery, and next
to what one would write by hand (``benchmarks/by_hand.py``, one connection for all threads).

python -m benchmarks.latency [--rounds 5] [--jobs 40] [--databases sqlite postgresql]

One job at a time, the next only after the reply to the one before: no batch helps. The simulator answers at once, limits are off.
Bare Celery commits nothing and asks nobody; by hand there is one commit, after the verdict; ours are three, one of them before the
first byte, and a fourth that takes the published reply out of the outbox.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from benchmarks.rivals import Contestant, our_worker, worker_by_hand
from benchmarks.rounds import LEAST_ROUNDS, Figures, Report, at_least, in_turn, percentile, ratios
from benchmarks.stage import OFF, open_stage

THREADS: Final = 128
GOAL: Final = 1.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=5)
    parser.add_argument("--jobs", type=at_least(1), default=40, help="jobs of each contestant in each round")
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    given = parser.parse_args()
    report = Report("One job on an idle worker, from the push to the reply")
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    with ExitStack() as stack:
        contestants: list[Contestant] = []
        for database in given.databases:
            settings = {"LIMITS": json.dumps(OFF), "MAX_IN_FLIGHT": THREADS, "CONCURRENCY": THREADS}
            stage = stack.enter_context(open_stage(database, 40, 0.0, **settings))
            contestants.append(stack.enter_context(our_worker(stage, f"worker68, {database}")))
            contestants.append(stack.enter_context(worker_by_hand(stage, "shared", f"by hand, {database}", THREADS, 1)))
        contestants.append(stack.enter_context(worker_by_hand(stage, "noop", "bare Celery", THREADS, 1)))
        figures = in_turn(given.rounds, *(wait_for_each(one, given.jobs) for one in contestants))
    for one in contestants:
        report.figure(f"{one.name}, p50", figures[f"{one.name} p50"], "ms", 1)
        report.figure(f"{one.name}, p95", figures[f"{one.name} p95"], "ms", 1)
    for database in given.databases:
        name = f"{database}: p50 to bare Celery"
        ratio = report.figure(name, ratios(figures[f"worker68, {database} p50"], figures["bare Celery p50"]), "", 2)
        report.goal(name, ratio, at_most=GOAL)
        ours, by_hand = (figures[f"{one}, {database} p50"] for one in ("worker68", "by hand"))
        report.figure(f"{database}: p50 to by hand", ratios(ours, by_hand), "", 2)
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


def wait_for_each(contestant: Contestant, jobs: int) -> Callable[[], Figures]:
    def measure() -> Figures:
        took = [contestant.run(1) * 1000 for _ in range(jobs)]
        return {
            f"{contestant.name} p50": statistics.median(took),
            f"{contestant.name} p95": percentile(took, 0.95),
        }

    return measure


if __name__ == "__main__":
    sys.exit(main())
