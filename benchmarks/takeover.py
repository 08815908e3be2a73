"""Takeover: how long the accounts of a killed worker are without a connection, and the longest command that Redis and SQL get then.

    python3 -m benchmarks.takeover [--accounts 60] [--workers 3] [--lease-ttl 10] [--rounds 5] [--jobs 30] [--verdict 0.5]
                                   [--database postgresql|sqlite]

Quick: ``--accounts 6 --workers 2 --lease-ttl 2``. Jobs come at random times all the while, spread over all accounts. In each round
a worker is killed (SIGKILL), another one each time; each of its accounts gets one more job at that moment. From the kill to the
connection of each of these accounts, and to its first send; then the worker is started again, and the accounts are spread anew.
At the end: the longest command of Redis and statement of PostgreSQL over all rounds, and what became of all jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from sqlalchemy import text

from benchmarks.arrivals import arriving
from benchmarks.bridges import Bridges, Notes, open_bridges
from benchmarks.longest import watch_longest
from benchmarks.rounds import LEAST_ROUNDS, Report, at_least, percentile, seconds, seconds_from_zero
from benchmarks.stage import OFF, Stage, open_stage, to
from tests.parts.worker import WORKER68, WorkerProcess, wait_until
from worker68.clock import monotonic
from worker68.store.engine import reading

#: Friends of every account: few, so that a chat has jobs behind one another, whose order is looked at.
FRIENDS: Final = 3
AT_ONCE: Final = 512
#: From a kill until all of it is over, and from a start until the accounts are spread.
PATIENCE_SECONDS: Final = 240.0

#: After LEASE_TTL, until the last account is connected: of fewer than so many accounts, and of more.
MANY: Final = 500
GOAL_SECONDS: Final = 5.0
GOAL_SECONDS_OF_MANY: Final = 10.0
GOAL_MILLISECONDS: Final = 50


@dataclass
class Run:
    """The parts of the run. ``asked``: how many jobs each account was given."""

    stage: Stage
    bridges: Bridges
    notes: Notes
    accounts: list[str]
    workers: list[WorkerProcess]
    asked: Counter[str] = field(default_factory=Counter)
    asking: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, account: str) -> None:
        """Give an account its next job. Its text tells the chat and the number."""
        with self.asking:
            number = self.asked[account]
            self.asked[account] += 1
            friend = self.bridges.friends[number % FRIENDS]
            job = to(friend, f"{friend} {number}", job_id=f"job-{number}")
            self.stage.push([job], queue=f"worker68.{account}")

    def owners(self) -> dict[str, str]:
        """Return the worker that holds each account, as far as one does."""
        values = cast(
            "list[bytes | None]", self.stage.redis.mget([f"worker68:lease:account:{n}" for n in self.accounts])
        )
        held = zip(self.accounts, values, strict=True)
        return {account: value.decode().partition("|")[0] for account, value in held if value is not None}

    def accounts_of(self, worker: WorkerProcess) -> list[str]:
        (owner,) = re.findall(r'"owner": "([^"]+)", "accounts"', worker.log_since_start)
        return [account for account, holder in self.owners().items() if holder == owner]

    def last_words(self) -> str:
        return "\n".join(worker.last_words[-2000:] for worker in self.workers)

    def wait(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, self.last_words, PATIENCE_SECONDS)

    def is_spread(self) -> bool:
        """Whether each worker holds its part of the accounts, and all of them are connected."""
        counts = Counter(self.owners().values())
        held = [counts.get(owner, 0) for owner in counts]
        if len(held) < len(self.workers) or sum(held) < len(self.accounts) or max(held) - min(held) > 1:
            return False
        connected = Counter[str]()
        for note in self.notes.read():
            connected[note.account] += {"connected": 1, "gone": -1}.get(note.what, 0)
        return all(connected[account] == 1 for account in self.accounts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=at_least(1), default=60)
    parser.add_argument("--workers", type=at_least(2), default=3)
    parser.add_argument("--lease-ttl", type=seconds, default=10.0)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=LEAST_ROUNDS)
    parser.add_argument("--jobs", type=at_least(1), default=30, help="jobs a second in all")
    parser.add_argument("--verdict", type=seconds_from_zero, default=0.5, help="seconds from a send to its verdict")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    given = parser.parse_args()
    report = Report(
        f"A worker of {given.workers} is killed that hold {given.accounts:,} accounts, LEASE_TTL {given.lease_ttl:g} s, "
        f"{given.jobs} jobs/s in all, {given.database}"
    )
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    with open_run(given) as run:
        run.wait(run.is_spread)
        with watch_longest(run.stage) as longest, load(run, given.jobs):
            rounds = [kill(run, run.workers[number % given.workers]) for number in range(given.rounds)]
        run.wait(lambda: unfinished(run.stage) == 0)
        say_times(report, given, rounds)
        report.say(f"  longest command of Redis: {longest.redis.milliseconds:.1f} ms, {longest.redis.words}")
        if given.database == "postgresql":
            for what, one in (("statement", longest.statement), ("COMMIT", longest.commit)):
                report.say(f"  longest {what} of PostgreSQL: {one.milliseconds:.1f} ms, {one.words}")
            report.goal("longest statement, ms", longest.statement.milliseconds, at_most=GOAL_MILLISECONDS)
        report.goal("longest command of Redis, ms", longest.redis.milliseconds, at_most=GOAL_MILLISECONDS)
        say_jobs(report, run)
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


@contextmanager
def open_run(given: argparse.Namespace) -> Iterator[Run]:
    with TemporaryDirectory(prefix="worker68-notes-") as folder:
        notes = Path(folder) / "notes"
        with open_bridges(FRIENDS, given.verdict, notes) as bridges:
            tables = bridges.accounts(given.accounts)
            settings = {
                "BRIDGE_URL": "",
                "ACCOUNTS": json.dumps(tables),
                "LIMITS": json.dumps(OFF),
                "LEASE_TTL": given.lease_ttl,
                "CONCURRENCY": AT_ONCE,
            }
            with open_stage(given.database, 2, 0.0, **settings) as stage:
                workers = [stage.worker(f"worker-{number}", WORKER68) for number in range(given.workers)]
                try:
                    for worker in workers:
                        worker.start()
                    yield Run(stage, bridges, Notes(notes), list(tables), workers)
                finally:
                    for worker in workers:
                        worker.kill()


@contextmanager
def load(run: Run, per_second: int) -> Iterator[None]:
    """Let jobs come at random times, for accounts at random, while the block lasts."""
    chance = random.Random(0)
    with arriving(lambda: run.ask(chance.choice(run.accounts)), per_second):
        yield


def kill(run: Run, victim: WorkerProcess) -> dict[str, list[float]]:
    """Kill a worker; return by account how long it was until it was connected again, and until its first send."""
    accounts = run.accounts_of(victim)
    killed_at = monotonic()
    victim.kill()
    for account in accounts:
        run.ask(account)
    seen: dict[str, dict[str, float]] = {"connected": {}, "sent": {}}

    def are_all_back() -> bool:
        for note in run.notes.read():
            if note.at > killed_at and note.what in seen:
                seen[note.what].setdefault(note.account, note.at - killed_at)
        return all(account in there for there in seen.values() for account in accounts)

    run.wait(are_all_back)
    victim.start()
    run.wait(run.is_spread)
    return {what: [there[account] for account in accounts] for what, there in seen.items()}


def say_times(report: Report, given: argparse.Namespace, rounds: Sequence[dict[str, list[float]]]) -> None:
    report.figure("accounts of the killed worker", [float(len(one["connected"])) for one in rounds])
    for what, words in (("connected", "from the kill to the connection"), ("sent", "from the kill to the first send")):
        report.figure(f"{words}, p50", [percentile(one[what], 0.5) for one in rounds], "s", 2)
        report.figure(f"{words}, last", [max(one[what]) for one in rounds], "s", 2)
        if what == "connected":
            many = max(len(one[what]) for one in rounds) >= MANY
            goal = given.lease_ttl + (GOAL_SECONDS_OF_MANY if many else GOAL_SECONDS)
            worst = max(max(one[what]) for one in rounds)
            report.goal("seconds until the last account is connected, worst round", worst, at_most=goal)


def unfinished(stage: Stage) -> int:
    """Return how many jobs have not ended, or wait in Redis."""
    with reading(stage.engine) as connection:
        waiting: int = connection.scalar(text("SELECT count(*) FROM jobs WHERE state <> 'ended'")) or 0
    return waiting + sum(stage.redis.llen(key) for key in stage.redis.scan_iter("worker68.*", _type="list"))


def say_jobs(report: Report, run: Run) -> None:
    """Print what became of the jobs: each has its row, none went out twice, and those of a chat in their order."""
    with reading(run.stage.engine) as connection:
        statuses = connection.execute(text("SELECT status, count(*) FROM jobs GROUP BY status ORDER BY status")).all()
    asked = sum(run.asked.values())
    report.say(f"  {asked:,} jobs: " + ", ".join(f"{count:,} {status}" for status, count in statuses))
    report.goal("jobs lost", asked - sum(count for _, count in statuses), at_most=0)
    wrong = sum(count for status, count in statuses if status not in ("succeeded", "in_doubt"))
    report.goal("jobs that failed", wrong, at_most=0)
    sent = [(note.account, note.text) for note in run.notes.read() if note.what == "sent"]
    report.goal("messages sent twice", len(sent) - len(set(sent)), at_most=0)
    numbers: dict[tuple[str, str], list[int]] = {}
    for account, words in sent:
        friend, number = words.split()
        numbers.setdefault((account, friend), []).append(int(number))
    report.goal("chats out of order", sum(there != sorted(there) for there in numbers.values()), at_most=0)
    overlaps = sum(note.what == "overlap" for note in run.notes.read())
    report.goal("two connections of an account at once", overlaps, at_most=0)


if __name__ == "__main__":
    sys.exit(main())
