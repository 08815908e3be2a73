"""Jobs a second of ``send_message`` through the whole path, next to bare Celery and to what one would write by hand.

python -m benchmarks.throughput [--rounds 5] [--jobs 1000] [--verdict 0] [--threads 128]
                               [--databases sqlite postgresql] [--without-hand]

Limits are off and the simulator answers at once, or after ``--verdict`` seconds; then the limit is threads ÷ verdict. Ours, with as
many jobs at once as the others have threads: taken in, written to SQL (SQLite with synchronous FULL, PostgreSQL with fsync), sent,
its verdict awaited, outcome and reply committed, reply published. Bare Celery: a task that does nothing, with the stock transport,
the threads pool and acks_late, on the same Redis, and no bridge. By hand: see ``benchmarks/by_hand.py``. CPU a job is what the
worker's process used, that of Redis, PostgreSQL and the bridge not included: of all figures it depends least on who else uses the
machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from benchmarks.processes import cpu_seconds
from benchmarks.rivals import Contestant, our_worker, worker_by_hand
from benchmarks.rounds import LEAST_ROUNDS, Figures, Report, at_least, in_turn, ratios, seconds_from_zero
from benchmarks.stage import OFF, open_stage

THREADS: Final = 128
#: With more, each verdict goes to more connections, and all become slower: this is where it does best.
CONNECTIONS: Final = 16
FRIENDS: Final = 400
GOAL_BARE: Final = 0.8
GOAL_BY_HAND: Final = 3.0
GOAL_VERDICTS: Final = 0.95


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=5)
    parser.add_argument("--jobs", type=at_least(1), default=1000, help="jobs of each contestant in each round")
    parser.add_argument("--verdict", type=seconds_from_zero, default=0.0, help="seconds from a send to its verdict")
    parser.add_argument(
        "--threads", type=at_least(1), default=THREADS, help="of bare Celery and by hand; ours: jobs at once"
    )
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--without-hand", action="store_true", help="only ours and bare Celery")
    given = parser.parse_args()
    if given.verdict:
        # The last wave must be a full one, or the limit cannot be reached.
        given.jobs = math.ceil(given.jobs / given.threads) * given.threads
    report = Report(
        f"send_message, {given.jobs} jobs a round, {given.threads} threads, verdicts after {given.verdict:g} s"
    )
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    with ExitStack() as stack:
        contestants: list[Contestant] = []
        for database in given.databases:
            settings = {"LIMITS": json.dumps(OFF), "MAX_IN_FLIGHT": given.threads, "CONCURRENCY": given.threads}
            stage = stack.enter_context(open_stage(database, FRIENDS, given.verdict, **settings))
            contestants.append(stack.enter_context(our_worker(stage, f"worker68, {database}")))
            if not given.without_hand:
                for task, threads in (("shared", given.threads), ("connection", CONNECTIONS)):
                    name = f"by hand, {task}, {database}"
                    contestants.append(stack.enter_context(worker_by_hand(stage, task, name, threads, given.jobs)))
        contestants.append(stack.enter_context(worker_by_hand(stage, "noop", "bare Celery", given.threads, given.jobs)))
        figures = in_turn(given.rounds, *(race(one, given.jobs) for one in contestants))
    for one in contestants:
        report.figure(one.name, figures[one.name], "/s")
    for one in contestants:
        report.figure(f"{one.name}: the worker's CPU", figures[f"{one.name} CPU"], "ms a job", 2)
    judge(report, figures, given, by_hand=not given.without_hand)
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


def race(contestant: Contestant, jobs: int) -> Callable[[], Figures]:
    def measure() -> Figures:
        before = cpu_seconds(contestant.pid)
        rate = jobs / contestant.run(jobs)
        used = cpu_seconds(contestant.pid) - before
        return {contestant.name: rate, f"{contestant.name} CPU": used / jobs * 1000}

    return measure


def judge(report: Report, figures: dict[str, list[float]], given: argparse.Namespace, *, by_hand: bool) -> None:
    verdict: float = given.verdict
    for database in given.databases:
        ours = figures[f"worker68, {database}"]
        if verdict:
            limit = [given.threads / verdict] * len(ours)
            share = report.figure(f"{database}: share of threads ÷ verdict", ratios(ours, limit), "", 2)
            report.goal(f"{database}: share of threads ÷ verdict", share, at_least=GOAL_VERDICTS)
        share = report.figure(f"{database}: to bare Celery", ratios(ours, figures["bare Celery"]), "", 2)
        if database == "postgresql" and not verdict:
            report.goal("postgresql: to bare Celery", share, at_least=GOAL_BARE)
        if by_hand:
            for task in ("shared", "connection"):
                name = f"{database}: to by hand, {task}"
                share = report.figure(name, ratios(ours, figures[f"by hand, {task}, {database}"]), "", 2)
                if task == "shared" and not verdict:
                    report.goal(name, share, at_least=GOAL_BY_HAND)


if __name__ == "__main__":
    sys.exit(main())
