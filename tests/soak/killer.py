"""Kills or stops workers at random while jobs go through, and counts what became of every job.

    python -m tests.soak.killer --jobs 5000 --database postgresql [--workers 3 --accounts 60]
    python -m tests.soak.killer --database postgresql --victim frozen --frozen 30 --kills 6 --jobs 20000 --per-second 100

In: how many jobs, of how many accounts, which database, how often to kill. Out: a report in lines, and exit code 0 only if nothing
was lost or doubled, and no owner wrote beside its successor. Everything it starts is its own and ends with it; it listens on
127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.postgres import PostgresServer
from tests.parts.worker import PATIENCE_SECONDS, wait_until
from tests.soak.standstill import stop_owner
from worker68.clock import Deadline, monotonic
from worker68.embedded import EmbeddedRedis
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND, OTHER_FRIEND
from worker68.store.migration import upgrade

SEND: Final = "worker68.send_message"
GROUP: Final = 389284
MEMBER: Final = 7128348
CHATS: Final = (
    {"type": "friend", "id": FRIEND},
    {"type": "friend", "id": OTHER_FRIEND},
    {"type": "group", "id": GROUP},
)
#: One job in so many is a change, and one a read.
EVERY_NTH_IS_NO_SEND: Final = 10
#: So many jobs are ahead of what has ended: enough that every kill meets a backlog, little enough that new ones keep coming.
AHEAD: Final = 400
REDIS_AWAY_SECONDS: Final = 3.0
SETTINGS: Final[dict[str, object]] = {
    "VERDICT_TIMEOUT": 10,
    "REPLY_TIMEOUT": 5,
}
LIMITS: Final = ("account", "chat", "send", "moderate", "read")


@dataclass(frozen=True)
class Plan:
    """What to do. ``every``: seconds between kills, on average. ``owners``: the share of them aimed at an account's owner.

    ``victim``: what is killed, a worker, or Redis, which is then away for three seconds; or ``frozen``: the owner of an account is
    stopped until another worker has taken over, for ``frozen`` seconds at least, by turns in the middle of a transaction.
    ``per_second``: the limit of each account. ``kills``: at most so many.
    """

    jobs: int = 5000
    database: str = "sqlite"
    every: float = 1.0
    owners: float = 0.3
    workers: int = 3
    accounts: int = 1
    lease_ttl: float = 1.0
    victim: str = "worker"
    frozen: float = 30.0
    per_second: int = 1000
    kills: int = 1_000_000
    seed: int = 0
    minutes: float = 20.0


@dataclass
class Report:
    """What was found. ``problems`` is empty where nothing was lost or doubled."""

    kills: int = 0
    kills_of_owners: int = 0
    in_transaction: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    sends_under_way: int = 0
    recoveries: list[float] = field(default_factory=list)
    redis_back: list[float] = field(default_factory=list)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"kills                     {self.kills}, of these {self.kills_of_owners} of an account's owner"
        if self.in_transaction:
            yield f"stopped in a transaction  {self.in_transaction}"
        yield f"jobs by status            {dict(self.statuses)}"
        yield f"in doubt                  {self.statuses['in_doubt']} of {self.sends_under_way} sends under way at the kills"
        for what, times in (
            ("kill -9 to the next frame", self.recoveries),
            ("Redis back to next send  ", self.redis_back),
        ):
            if times:
                yield f"{what} {statistics.median(times):.1f} s median, {max(times):.1f} s worst, of {len(times)}"
        yield f"duration                  {self.seconds:.0f} s"
        yield f"problems                  {self.problems or 'none: nothing lost, nothing doubled'}"


class Soak:
    """One run."""

    def __init__(self, plan: Plan, url: str, stack: ExitStack, folder: Path) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.report = Report()
        self.accounts = [f"a{number:02}" for number in range(plan.accounts)]
        self.redis_server = stack.enter_context(EmbeddedRedis(append_only=True))
        self.redis = redis.Redis.from_url(self.redis_server.url, decode_responses=True)
        bridges = [Simulator(heartbeat_seconds=0.5, verdict_delay_seconds=0.05) for _ in self.accounts]
        self.bridges = dict(zip(self.accounts, map(stack.enter_context, bridges), strict=True))
        self.database = create_engine(url, poolclass=NullPool)
        settings = SETTINGS | {
            "REDIS_URL": self.redis_server.url,
            "DATABASE_URL": url,
            "ACCOUNTS": json.dumps({name: {"bridge_url": bridge.url} for name, bridge in self.bridges.items()}),
            "LEASE_TTL": plan.lease_ttl,
            "LIMITS": json.dumps(dict.fromkeys(LIMITS, "1000/s+1000") | {"account": f"{plan.per_second}/s"}),
        }
        nursery = stack.enter_context(Nursery())
        self.workers = [nursery.worker(settings, folder / f"worker-{number}.log") for number in range(plan.workers)]
        for worker in self.workers:
            stack.callback(worker.kill)
        self.killed: set[str] = set()
        self.asked: list[str] = []

    def run(self) -> Report:
        began, deadline = monotonic(), Deadline.after(self.plan.minutes * 60)
        break_one = {"worker": self._kill, "redis": self._break_redis, "frozen": self._freeze}[self.plan.victim]
        for worker in self.workers:
            worker.start()
        next_kill = monotonic() + self.plan.every
        while not self._done():
            if deadline.passed:
                self.report.problems.append(f"not done within {self.plan.minutes:g} min")
                break
            self._ask()
            if monotonic() >= next_kill and self.report.kills < self.plan.kills:
                break_one()
                next_kill = monotonic() + self.plan.every * self.chance.uniform(0.5, 1.5)
            time.sleep(0.05)
        self.report.seconds = monotonic() - began
        self._audit()
        return self.report

    # The producer

    def _ask(self) -> None:
        ahead = len(self.asked) - self._count("state = 'ended'")
        for _ in range(min(AHEAD - ahead, self.plan.jobs - len(self.asked))):
            number = len(self.asked)
            self.asked.append(f"job-{number}")
            account, turn = self._turn(number)
            queue = (
                "worker68" if turn % len(CHATS) == 0 else f"worker68.{account}"
            )  # one for each chat: order is a queue's
            self.redis.lpush(queue, json.dumps(self._message(number)))

    def _turn(self, number: int) -> tuple[str, int]:
        """Return whose job it is, and how many of this account came before it."""
        turn, place = divmod(number, len(self.accounts))
        return self.accounts[place], turn

    def _message(self, number: int) -> dict[str, Any]:
        task, (account, turn) = SEND, self._turn(number)
        fields: dict[str, Any] = {"chat": CHATS[turn % len(CHATS)], "text": f"text {number}"}
        if turn % EVERY_NTH_IS_NO_SEND == 0:
            task, fields = "worker68.mute_member", {"group_id": GROUP, "user_id": MEMBER, "seconds": 60 + number}
        elif turn % EVERY_NTH_IS_NO_SEND == 5:
            task, fields = "worker68.sync_group", {"group_id": GROUP}
        fields |= {"account": account}
        body = [[], {"job_id": f"job-{number}", "reply_to": "soak", **fields}, {}]
        headers = {"task": task, "id": f"task-{number}", "ignore_result": True}
        return {"headers": headers, "content-type": "application/json", "body": json.dumps(body)}

    # The killer

    def _kill(self) -> None:
        account = self.chance.choice(self.accounts)
        owner = self._owner(account)
        victim = (
            owner if owner is not None and self.chance.random() < self.plan.owners else self.chance.choice(self.workers)
        )
        sent_before = len(self.bridges[account].received)
        victim.kill()
        killed_at = monotonic()
        self._note_victim(victim)
        if victim is owner:
            self.report.kills_of_owners += 1
            about = (self.bridges[account], killed_at, sent_before)
            threading.Thread(target=self._time_recovery, args=about, daemon=True).start()
        victim.start()

    def _note_victim(self, victim: ForkedWorker) -> None:
        self.report.kills += 1
        self.killed |= set(re.findall(r'"owner": "([^"]+)", "accounts"', victim.log_since_start))

    def _freeze(self) -> None:
        """Stop an owner until another worker has taken over, and for so long; it must find out when it goes on."""
        account = self.chance.choice(self.accounts)
        owner, in_transaction = stop_owner(
            partial(self._owner, account), self._rows, in_transaction=self.report.kills % 2 == 1
        )
        self._note_victim(owner)
        self.report.in_transaction += in_transaction
        until, lost_before = monotonic() + self.plan.frozen, owner.log.count("lease_lost")
        while monotonic() < until or self._owner(account) in (None, owner):
            if monotonic() > until + PATIENCE_SECONDS:
                self.report.problems.append("nobody took over")
                break
            self._ask()
            time.sleep(0.05)
        owner.send(signal.SIGCONT)
        owner.wait(lambda: owner.log.count("lease_lost") > lost_before)

    def _break_redis(self) -> None:
        self.redis_server.kill()
        time.sleep(REDIS_AWAY_SECONDS)
        self.redis_server.restart()
        back_at = monotonic()
        self.report.kills += 1
        wait_until(lambda: self._last_sent_at() > back_at, seconds=120)
        self.report.redis_back.append(self._last_sent_at() - back_at)

    def _last_sent_at(self) -> float:
        return max((bridge.sent[-1].at for bridge in self.bridges.values() if bridge.sent), default=0.0)

    def _owner(self, account: str) -> ForkedWorker | None:
        value = self.redis.get(f"worker68:lease:account:{account}")
        name = str(value).partition("|")[0]
        return next((one for one in self.workers if f'"owner": "{name}"' in one.log_since_start), None)

    def _time_recovery(self, bridge: Simulator, killed_at: float, frames_before: int) -> None:
        """Measure until the next frame of a job reaches the bridge; frames under way at the kill are in before."""
        time.sleep(0.05)
        before = {one.connection for one in bridge.received.copy()[:frames_before]}
        kinds = {"sendMsg", "request"}
        while monotonic() - killed_at < 120:
            for one in bridge.received.copy()[frames_before:]:
                if one.connection not in before and one.frame.get("type") in kinds:
                    self.report.recoveries.append(one.at - killed_at)
                    return
            time.sleep(0.05)

    # What the database says

    def _rows(self, query: str) -> list[Any]:
        while True:
            try:
                with self.database.connect() as connection:
                    return list(connection.execute(text(query)))
            except OperationalError:
                time.sleep(0.1)

    def _count(self, condition: str) -> int:
        return int(self._rows(f"SELECT count(*) FROM jobs WHERE {condition}")[0][0])

    def _done(self) -> bool:
        return (
            len(self.asked) == self.plan.jobs
            and self._count("state = 'ended'") >= self.plan.jobs
            and not self._rows("SELECT id FROM outbox LIMIT 1")
        )

    # What became of everything

    def _audit(self) -> None:
        report, problems = self.report, self.report.problems
        query = "SELECT job_id, state, status, revision, task, error_code FROM jobs"
        jobs = {row.job_id: row for row in self._rows(query)}
        report.statuses = Counter(str(row.status) for row in jobs.values())
        report.sends_under_way = len(under_way := self._left_begun())
        if missing := set(self.asked) - jobs.keys():
            problems.append(f"lost: {sorted(missing)[:5]}")
        if open_ := [row.job_id for row in jobs.values() if row.state != "ended"]:
            problems.append(f"not ended: {open_[:5]}")
        # An owner that was stopped before it wrote knows afterwards that it did not.
        unwritten = {row.job_id for row in jobs.values() if row.error_code == "not_sent"} & under_way
        # One whose third worker dies in one step is set aside.
        deaths = "SELECT seq FROM attempts WHERE ending = 'worker_lost' GROUP BY seq, step HAVING count(*) >= 3"
        set_aside = {row.job_id for row in self._rows(f"SELECT job_id FROM jobs WHERE seq IN ({deaths})")}
        ended = [row for row in jobs.values() if row.job_id not in unwritten | set_aside]
        wrong = [
            f"{row.job_id} {row.task} {row.status} {row.error_code}"
            for row in ended
            if row.status not in ("succeeded", "in_doubt")
        ]
        if wrong:
            problems.append(f"ended otherwise: {wrong[:5]}")
        doubtful = {row.job_id for row in jobs.values() if row.status == "in_doubt"}
        if unexplained := doubtful - under_way:
            problems.append(f"in doubt without a kill: {sorted(unexplained)[:5]}")
        self._audit_bridges(jobs, unwritten)
        self._audit_connections()
        self._audit_replies(jobs)

    def _left_begun(self) -> set[str]:
        """Return the sends of which an attempt was committed by a worker that was killed, and whose end it did not record."""
        query = (
            "SELECT jobs.job_id, attempts.owner FROM attempts JOIN jobs ON jobs.seq = attempts.seq"
            f" WHERE jobs.task = '{SEND}' AND (attempts.ending = 'worker_lost' OR attempts.ended_at IS NULL)"
        )
        return {row.job_id for row in self._rows(query) if row.owner in self.killed}

    def _audit_connections(self) -> None:
        """Of two open connections the older one is that of an owner that stood still, and writes nothing from then on."""
        stood_still = any("lease_lost" in worker.log for worker in self.workers)
        for account, bridge in self.bridges.items():
            for overlap in bridge.take_overlaps():
                if not stood_still:
                    self.report.problems.append(f"two connections of {account} at once: {overlap}")
                late = [one for one in bridge.received if one.connection == overlap.older and one.at > overlap.at]
                if late:
                    self.report.problems.append(f"an old owner wrote beside its successor: {late[:3]}")

    def _audit_bridges(self, jobs: dict[str, Any], unwritten: set[str]) -> None:
        sent, problems = [one for bridge in self.bridges.values() for one in bridge.sent.copy()], self.report.problems
        for what, seen in (
            ("text", Counter(one.text for one in sent)),
            ("custom_msg_id", Counter(one.custom_msg_id for one in sent)),
        ):
            if doubled := [value for value, count in seen.items() if count > 1]:
                problems.append(f"{what} sent twice: {doubled[:5]}")
        texts = {one.text for one in sent}
        if written := [job for job in unwritten if job.replace("job-", "text ") in texts]:
            problems.append(f"sent, and said not to be: {written[:5]}")
        succeeded = [job for job in self.asked if job in jobs and jobs[job].status == "succeeded"]
        unsent = [job for job in succeeded if jobs[job].task == SEND and job.replace("job-", "text ") not in texts]
        if unsent:
            problems.append(f"succeeded and not sent: {unsent[:5]}")
        for account, bridge in self.bridges.items():
            for chat in CHATS:
                numbers = [int(one.text.split()[-1]) for one in bridge.sent.copy() if one.chat_id == chat["id"]]
                if numbers != sorted(numbers):
                    problems.append(f"out of order in {chat} of {account}")

    def _audit_replies(self, jobs: dict[str, Any]) -> None:
        replies = {}
        for raw in self.redis.lrange("worker68:replies:soak", 0, -1):
            reply = json.loads(raw)
            replies[reply["reply_id"]] = reply
        revisions: dict[str, list[int]] = {}
        for reply in replies.values():
            revisions.setdefault(reply["job_id"], []).append(reply["revision"])
        incomplete = [
            job for job, row in jobs.items() if sorted(revisions.get(job, [])) != list(range(1, row.revision + 1))
        ]
        if incomplete:
            self.report.problems.append(f"replies incomplete: {incomplete[:5]}")


@contextmanager
def open_soak(plan: Plan) -> Iterator[Soak]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="worker68-soak-")))
        url = f"sqlite:///{folder / 'worker68.db'}"
        if plan.database == "postgresql":
            url = stack.enter_context(stack.enter_context(PostgresServer()).database())
        upgrade(url)
        yield Soak(plan, url, stack, folder)


def main() -> int:
    defaults = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.soak.killer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=defaults.jobs)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default=defaults.database)
    parser.add_argument("--every", type=float, default=defaults.every, help="seconds between two kills, on average")
    parser.add_argument("--owners", type=float, default=defaults.owners, help="share of kills aimed at an owner")
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--accounts", type=int, default=defaults.accounts, help="each with a bridge of its own")
    parser.add_argument("--lease-ttl", type=float, default=defaults.lease_ttl)
    parser.add_argument("--victim", choices=["worker", "redis", "frozen"], default=defaults.victim)
    parser.add_argument("--frozen", type=float, default=defaults.frozen, help="seconds, with --victim frozen")
    parser.add_argument("--per-second", type=int, default=defaults.per_second, help="the limit of each account")
    parser.add_argument("--kills", type=int, default=defaults.kills, help="how many at most")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="give up after this")
    plan = Plan(**vars(parser.parse_args()))
    if plan.victim == "frozen" and plan.database == "sqlite":
        parser.error("--victim frozen needs --database postgresql: a stopped worker may hold SQLite's only lock")
    with open_soak(plan) as soak:
        report = soak.run()
    print(f"plan                      {plan}")
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
