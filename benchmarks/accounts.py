"""What accounts cost: one worker with 1, 100, 500 and 1,000 of them, idle and with 300 jobs a second in all.

    python3 -m benchmarks.accounts [--accounts 1,100,500,1000] [--rounds 5] [--seconds 10] [--jobs 300] [--verdict 0.5]
                                   [--database postgresql|sqlite]

Quick: ``--accounts 1,10 --seconds 1``. For each number of accounts one worker is started. After it has all of them and their
bridges are ready, it is idle for so many rounds of ``--seconds``: CPU as a share of a core, of the worker and of Redis. Then jobs
come at random times, spread evenly over accounts and chats, for as many rounds: from the push of a job to its reply, which includes
the verdict's delay; what is compared with one account is the rest of it, the worker's own part. All the while the fencing numbers
are watched: an account that gets a new one had lost its lease. All bridges are one process beside (``benchmarks/bridges.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import sleep
from typing import Final, cast

import redis

from benchmarks.arrivals import Chat, arrival_times, push_and_wait
from benchmarks.bridges import open_bridges
from benchmarks.processes import children, cpu_seconds, resident_megabytes
from benchmarks.rounds import LEAST_ROUNDS, Report, at_least, counts, percentile, ratios, seconds, seconds_from_zero
from benchmarks.stage import OFF, Stage, open_stage
from tests.parts.worker import WORKER68, WorkerProcess
from worker68.clock import Deadline, monotonic

#: Over all accounts, so that a chat never has two jobs at once: else the second one would wait for the first one's verdict.
CHATS: Final = 3000
#: 300 jobs a second with verdicts after 0.5 s are 150 at once, of one account too.
AT_ONCE: Final = 512
#: From the start of a worker until it has all accounts.
PATIENCE_SECONDS: Final = 240.0
#: A worker says every five seconds in Redis how its accounts are.
SETTLE_SECONDS: Final = 6.0
WATCH_SECONDS: Final = 0.5

#: Percent of a core, by the number of accounts.
IDLE_GOALS: Final = {1: 0.5, 100: 1.0, 500: 4.0, 1000: 8.0}
#: The p50 of the worker's own part, to that of one account.
LATENCY_GOALS: Final = {500: 2.0, 1000: 4.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=counts, default=[1, 100, 500, 1000])
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=5)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="how long a round is")
    parser.add_argument("--jobs", type=at_least(1), default=300, help="jobs a second in all")
    parser.add_argument("--verdict", type=seconds_from_zero, default=0.5, help="seconds from a send to its verdict")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    given = parser.parse_args()
    report = Report(
        f"One worker with many accounts: idle, and with {given.jobs} jobs/s in all, verdicts after {given.verdict:g} s, "
        f"{given.database}"
    )
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    first: list[float] = []
    for accounts in given.accounts:
        report.say(f"{accounts:,} accounts")
        own = measure(given, accounts, report)
        if own and first:
            compare(report, accounts, own, first)
        first = first or own
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


def measure(given: argparse.Namespace, accounts: int, report: Report) -> list[float]:
    """Print the figures of a worker with so many accounts; return the p50 of its own part, nothing if it never had all accounts."""
    with open_bridges(max(2, CHATS // accounts), given.verdict) as bridges:
        settings = {
            "BRIDGE_URL": "",
            "ACCOUNTS": json.dumps(bridges.accounts(accounts)),
            "LIMITS": json.dumps(OFF),
            "CONCURRENCY": AT_ONCE,
            "MAX_IN_FLIGHT": AT_ONCE,
        }
        names = list(bridges.accounts(accounts))
        chats = [Chat(name, friend) for friend in bridges.friends for name in names]
        with open_stage(given.database, 2, 0.0, **settings) as stage:
            worker, before = stage.worker("worker", WORKER68), children()
            began = monotonic()
            worker.start()
            (pid,) = children() - before
            try:
                ready = wait_for_accounts(stage, worker, accounts)
                report.say(f"  {'all' if ready else 'NOT all'} bridges ready after {monotonic() - began:.1f} s")
                sleep(SETTLE_SECONDS)
                with watch_leases(stage, names) as lost:
                    say_idle(report, accounts, [rest(stage, pid, given.seconds) for _ in range(given.rounds)])
                    own = say_load(report, run_load(given, stage, worker, pid, chats)) if ready else []
                report.goal(f"{accounts:,} accounts, leases lost", len(lost), at_most=0)
                report.say(f"  memory {resident_megabytes(pid):.0f} MB")
            finally:
                worker.kill()
    if not ready:
        report.missed.append(f"{accounts:,} accounts, all of them owned and ready")
    return own


def run_load(
    given: argparse.Namespace, stage: Stage, worker: WorkerProcess, pid: int, chats: Sequence[Chat]
) -> list[dict[str, float]]:
    """Return the figures of each round; of fewer rounds where the worker does not keep up, for each would begin behind the last."""
    rounds: list[dict[str, float]] = []
    while len(rounds) < given.rounds and not (rounds and rounds[-1]["missing"]):
        times = arrival_times(given.seconds, given.jobs, seed=len(rounds))
        rounds.append(load(stage, worker, pid, chats, times, given.verdict))
    return rounds


def wait_for_accounts(stage: Stage, worker: WorkerProcess, accounts: int) -> bool:
    """Wait until the worker says that it owns all accounts and that their bridges are ready; whether it ever does."""
    deadline = Deadline.after(PATIENCE_SECONDS)
    while not deadline.passed:
        assert worker.running, worker.last_words
        for name in cast("list[bytes]", stage.redis.zrange("worker68:workers", 0, -1)):
            status = json.loads(
                cast("bytes | None", stage.redis.get(b"worker68:worker:" + name)) or b'{"accounts": {}}'
            )
            if sum(one["bridge"] is None for one in status["accounts"].values()) == accounts:
                return True
        sleep(0.1)
    return False


@contextmanager
def watch_leases(stage: Stage, names: Sequence[str]) -> Iterator[list[str]]:
    """Give a list of the accounts that got a new fencing number while the block lasts, once for each time."""
    lost, over = list[str](), threading.Event()
    keys = [f"worker68:fence:account:{name}" for name in names]

    def watch() -> None:
        with redis.Redis.from_url(stage.redis_server.url, protocol=2) as client:
            before = client.mget(keys)
            while not over.wait(WATCH_SECONDS):
                now = client.mget(keys)
                lost.extend(name for name, one, other in zip(names, before, now, strict=True) if one != other)
                before = now

    watcher = threading.Thread(target=watch, name="leases", daemon=True)
    watcher.start()
    try:
        yield lost
    finally:
        over.set()
        watcher.join()


def rest(stage: Stage, pid: int, seconds: float) -> dict[str, float]:
    """Return what the worker and Redis use while nothing is to be done, as percents of a core."""
    began, ours, redis_ = monotonic(), cpu_seconds(pid), cpu_seconds(stage.redis_server.pid)
    sleep(seconds)
    share = 100 / (monotonic() - began)
    return {
        "idle": (cpu_seconds(pid) - ours) * share,
        "idle Redis": (cpu_seconds(stage.redis_server.pid) - redis_) * share,
    }


def load(
    stage: Stage, worker: WorkerProcess, pid: int, chats: Sequence[Chat], times: Sequence[float], verdict: float
) -> dict[str, float]:
    """Return how long jobs that come at these times take."""
    before = cpu_seconds(pid)
    taken = push_and_wait(stage, chats, times, lambda: worker.last_words)
    p50, p95 = percentile(taken.milliseconds, 0.5), percentile(taken.milliseconds, 0.95)
    return {
        "p50": p50,
        "p95": p95,
        "own p50": p50 - verdict * 1000,
        "own p95": p95 - verdict * 1000,
        "CPU a job": (cpu_seconds(pid) - before) / len(times) * 1000,
        "missing": float(taken.missing),
    }


def say_idle(report: Report, accounts: int, rounds: list[dict[str, float]]) -> None:
    idle = report.figure("idle CPU of the worker", [one["idle"] for one in rounds], "%", 2)
    report.figure("idle CPU of Redis", [one["idle Redis"] for one in rounds], "%", 2)
    if accounts in IDLE_GOALS:
        report.goal(f"{accounts:,} accounts, idle CPU in percent", idle, at_most=IDLE_GOALS[accounts])


def say_load(report: Report, rounds: list[dict[str, float]]) -> list[float]:
    """Print the figures; return the p50 of the worker's own part."""
    report.figure("from the push to the reply, p50", [one["p50"] for one in rounds], "ms")
    report.figure("from the push to the reply, p95", [one["p95"] for one in rounds], "ms")
    report.figure("without the verdict's delay, p50", own := [one["own p50"] for one in rounds], "ms")
    report.figure("without the verdict's delay, p95", [one["own p95"] for one in rounds], "ms")
    report.figure("CPU a job", [one["CPU a job"] for one in rounds], "ms", 2)
    report.goal("jobs without a reply in time", sum(one["missing"] for one in rounds), at_most=0)
    return own


def compare(report: Report, accounts: int, own: list[float], first: list[float]) -> None:
    """Print how the worker's own part compares with that of the first number of accounts, round by round."""
    shared = min(len(own), len(first))
    ratio = report.figure("without the verdict's delay, p50: to the first", ratios(own[:shared], first[:shared]), "", 2)
    if accounts in LATENCY_GOALS:
        report.goal(f"{accounts:,} accounts, p50 to the first", ratio, at_most=LATENCY_GOALS[accounts])


if __name__ == "__main__":
    sys.exit(main())
