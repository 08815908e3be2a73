"""What accounts cost: 1, 100, 500 and 1,000 of them on one worker or spread over several, idle and with 300 jobs a second in all.

    python3 -m benchmarks.accounts [--accounts 1,100,500,1000] [--workers 1] [--rounds 5] [--seconds 10] [--jobs 300]
                                   [--verdict 0.5] [--database postgresql|sqlite]

Quick: ``--accounts 1,10 --seconds 1``. A fleet: ``--accounts 1,2000 --workers 4``. For each number of accounts so many workers
are started. After they hold all of them, spread evenly, and their bridges are ready, they are idle for so many rounds of
``--seconds``: CPU as a share of a core, of the workers and of Redis. Then jobs come at random times, spread evenly over accounts
and chats, for as many rounds: from the push of a job to its reply, which includes the verdict's delay; what is compared with one
account is the rest of it, the worker's own part. All the while the fencing numbers are watched: an account that gets a new one
had lost its lease. Redis and PostgreSQL say what took them longest. All bridges are one process beside
(``benchmarks/bridges.py``). The goals are those of a worker that holds as many accounts as each of these does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import sleep
from typing import Final, cast

import redis

from benchmarks.arrivals import Chat, arrival_times, push_and_wait
from benchmarks.bridges import open_bridges
from benchmarks.longest import Longest, watch_longest
from benchmarks.processes import cpu_seconds, resident_megabytes
from benchmarks.rounds import LEAST_ROUNDS, Report, at_least, counts, percentile, ratios, seconds, seconds_from_zero
from benchmarks.stage import OFF, Stage, open_stage
from tests.parts.worker import WORKER68, WorkerProcess
from worker68.clock import Deadline, monotonic

#: Over all accounts, so that a chat never has two jobs at once: else the second one would wait for the first one's verdict.
CHATS: Final = 3000
#: 300 jobs a second with verdicts after 0.5 s are 150 at once, of one account too.
AT_ONCE: Final = 512
#: From the start of the workers until they have all accounts, spread evenly.
PATIENCE_SECONDS: Final = 240.0
#: A worker says every five seconds in Redis how its accounts are.
SETTLE_SECONDS: Final = 6.0
WATCH_SECONDS: Final = 0.5

#: One command of Redis or statement of PostgreSQL; what takes longer is noticed by the jobs of other accounts.
GOAL_MILLISECONDS: Final = 50
#: Percent of a core, by the number of a worker's accounts.
IDLE_GOALS: Final = {1: 0.5, 100: 1.0, 500: 4.0, 1000: 8.0}
#: The p50 of the worker's own part, to that of one account, by the number of a worker's accounts.
LATENCY_GOALS: Final = {500: 2.0, 1000: 4.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=counts, default=[1, 100, 500, 1000])
    parser.add_argument("--workers", type=at_least(1), default=1, help="over which the accounts are spread")
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=5)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="how long a round is")
    parser.add_argument("--jobs", type=at_least(1), default=300, help="jobs a second in all")
    parser.add_argument("--verdict", type=seconds_from_zero, default=0.5, help="seconds from a send to its verdict")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    given = parser.parse_args()
    report = Report(
        f"{given.workers} worker(s) with many accounts: idle, and with {given.jobs} jobs/s in all, verdicts after "
        f"{given.verdict:g} s, {given.database}"
    )
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    first: list[float] = []
    for accounts in given.accounts:
        report.say(f"{accounts:,} accounts")
        own = measure(given, accounts, report)
        if own and first:
            compare(report, accounts // given.workers, own, first)
        first = first or own
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


def measure(given: argparse.Namespace, accounts: int, report: Report) -> list[float]:
    """Print the figures of workers with so many accounts; return the p50 of their own part, nothing if not all came up."""
    own: list[float] = []
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
        with open_stage(given.database, 2, 0.0, **settings) as stage, ExitStack() as stack:
            began = monotonic()
            workers = [stage.worker(f"worker-{number}", WORKER68) for number in range(given.workers)]
            with watch_longest(stage) as longest:
                for worker in workers:
                    stack.callback(worker.kill)
                    worker.start()
                ready = wait_for_accounts(stage, workers, accounts)
            report.say(f"  {'all' if ready else 'NOT all'} bridges ready after {monotonic() - began:.1f} s")
            say_longest(report, "the start", longest)
            sleep(SETTLE_SECONDS)
            with watch_leases(stage, names) as lost, watch_longest(stage) as longest:
                say_idle(
                    report,
                    accounts // given.workers,
                    [rest(stage, workers, given.seconds) for _ in range(given.rounds)],
                )
                if ready:
                    own = say_load(report, run_load(given, stage, workers, chats))
            report.goal(f"{accounts:,} accounts, leases lost", len(lost), at_most=0)
            say_longest(report, "rest and load", longest)
            held = held_by_pid(stage)
            for worker in workers:
                report.say(f"  {len(held.get(worker.pid, {})):,} accounts, {resident_megabytes(worker.pid):.0f} MB")
    if not ready:
        report.missed.append(f"{accounts:,} accounts, all of them owned and ready")
    return own


def say_longest(report: Report, of: str, longest: Longest) -> None:
    """Print what took Redis and PostgreSQL longest, and whether others would have noticed."""
    for server, command in (("Redis", longest.redis), ("PostgreSQL", longest.statement)):
        report.say(f"  the longest command of {server} in {of}: {command.milliseconds:.0f} ms, {command.words}")
        name = f"{of}, milliseconds of the longest command of {server}"
        report.goal(name, command.milliseconds, at_most=GOAL_MILLISECONDS)
    report.say(f"  the longest COMMIT, mostly the disk's: {longest.commit.milliseconds:.0f} ms")


def run_load(
    given: argparse.Namespace, stage: Stage, workers: Sequence[WorkerProcess], chats: Sequence[Chat]
) -> list[dict[str, float]]:
    """Return the figures of each round; of fewer rounds where the workers do not keep up, for each would begin behind the last."""
    rounds: list[dict[str, float]] = []
    while len(rounds) < given.rounds and not (rounds and rounds[-1]["missing"]):
        times = arrival_times(given.seconds, given.jobs, seed=len(rounds))
        rounds.append(load(stage, workers, chats, times, given.verdict))
    return rounds


def wait_for_accounts(stage: Stage, workers: Sequence[WorkerProcess], accounts: int) -> bool:
    """Wait until the workers say that they own all accounts, spread evenly, with their bridges ready; whether they ever do."""
    deadline = Deadline.after(PATIENCE_SECONDS)
    while not deadline.passed:
        for worker in workers:
            assert worker.running, worker.last_words
        held = held_by_pid(stage)
        ready = sum(bridge is None for accounts_ in held.values() for bridge in accounts_.values())
        sizes = list(map(len, held.values()))
        if len(held) == len(workers) and ready == sum(sizes) == accounts and max(sizes) - min(sizes) <= 1:
            return True
        sleep(0.1)
    return False


def held_by_pid(stage: Stage) -> dict[int, dict[str, str | None]]:
    """Return what each worker says that it holds: by account, why its bridge is not ready."""
    held = {}
    for name in cast("list[bytes]", stage.redis.zrange("worker68:workers", 0, -1)):
        said = cast("bytes | None", stage.redis.get(b"worker68:worker:" + name))
        if said is not None:
            status = json.loads(said)
            held[int(status["pid"])] = {account: one["bridge"] for account, one in status["accounts"].items()}
    return held


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


def rest(stage: Stage, workers: Sequence[WorkerProcess], seconds: float) -> dict[str, float]:
    """Return what the workers and Redis use while nothing is to be done, as percents of a core."""
    pids = [*(worker.pid for worker in workers), stage.redis_server.pid]
    began, before = monotonic(), list(map(cpu_seconds, pids))
    sleep(seconds)
    share = 100 / (monotonic() - began)
    *ours, redis_ = ((cpu_seconds(pid) - used) * share for pid, used in zip(pids, before, strict=True))
    return {"idle": sum(ours) / len(ours), "busiest": max(ours), "idle Redis": redis_}


def load(
    stage: Stage, workers: Sequence[WorkerProcess], chats: Sequence[Chat], times: Sequence[float], verdict: float
) -> dict[str, float]:
    """Return how long jobs that come at these times take."""
    before = sum(cpu_seconds(worker.pid) for worker in workers)
    taken = push_and_wait(stage, chats, times, lambda: "".join(worker.last_words for worker in workers))
    used = sum(cpu_seconds(worker.pid) for worker in workers) - before
    p50, p95 = percentile(taken.milliseconds, 0.5), percentile(taken.milliseconds, 0.95)
    return {
        "p50": p50,
        "p95": p95,
        "own p50": p50 - verdict * 1000,
        "own p95": p95 - verdict * 1000,
        "CPU a job": used / len(times) * 1000,
        "missing": float(taken.missing),
    }


def say_idle(report: Report, accounts: int, rounds: list[dict[str, float]]) -> None:
    """``accounts``: of each worker."""
    idle = report.figure("idle CPU of a worker", [one["idle"] for one in rounds], "%", 2)
    report.figure("idle CPU of the busiest worker", [one["busiest"] for one in rounds], "%", 2)
    report.figure("idle CPU of Redis", [one["idle Redis"] for one in rounds], "%", 2)
    if accounts in IDLE_GOALS:
        report.goal(f"{accounts:,} accounts a worker, idle CPU in percent", idle, at_most=IDLE_GOALS[accounts])


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
    """Print how the workers' own part compares with that of the first number of accounts, round by round."""
    shared = min(len(own), len(first))
    ratio = report.figure("without the verdict's delay, p50: to the first", ratios(own[:shared], first[:shared]), "", 2)
    if accounts in LATENCY_GOALS:
        report.goal(f"{accounts:,} accounts a worker, p50 to the first", ratio, at_most=LATENCY_GOALS[accounts])


if __name__ == "__main__":
    sys.exit(main())
