"""The tables of one database as tests see them: messages go in, attempts are made, rows and entries are looked at.

In: the URL of an empty database. Out: what its tables hold. Never: Redis, a bridge, a thread.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, Table, func, insert, select

from tests.parts.jobs import NOW, account, message, send_fields
from worker68.execution.intake import Arrival, Intake
from worker68.jobs.job import Job
from worker68.jobs.outcome import Outcome, succeeded
from worker68.settings import AccountSettings
from worker68.store import intake, lanes
from worker68.store.engine import open_engine, reading, transaction
from worker68.store.intake import Entry, Taken
from worker68.store.outbox import fetch
from worker68.store.statements import attempts
from worker68.store.statements.attempts import Attempt
from worker68.store.statements.outcomes import OutboxEntry
from worker68.store.tables import attempts as attempts_table
from worker68.store.tables import jobs, metadata, outbox, requesters, suppressions

T = TypeVar("T")

OWNER: Final = "worker-a"
FENCE: Final = 7
SENT: Final = succeeded({"message_id": 77})


@contextmanager
def open_ledger(url: str, *, has_tables: bool = False) -> Iterator[Ledger]:
    """Make the tables in an empty database, unless it has them, and yield what tests do with them."""
    ledger = Ledger(url)
    try:
        if not has_tables:
            metadata.create_all(ledger.engine)
        yield ledger
    finally:
        ledger.engine.dispose()


class Ledger:
    """What tests do with the tables. May be used by several threads."""

    def __init__(self, url: str, accounts: Sequence[AccountSettings] = (account(), account("other"))) -> None:
        self.engine = open_engine(url)
        self.intake = Intake(self.engine, {settings.name: settings for settings in accounts})

    # In

    def arrive(self, *messages: bytes, queue: str | None = None, now: dt.datetime = NOW) -> list[Job]:
        """Take messages in as one batch; return the new jobs."""
        return self.intake.take_in([Arrival(raw, "worker68", queue) for raw in messages], now)

    def send(self, now: dt.datetime = NOW, **fields: Any) -> Job:
        """Take one send in and return its job."""
        (job,) = self.arrive(message(kwargs=send_fields(**fields)), now=now)
        return job

    def entries(self, *messages: bytes, now: dt.datetime = NOW) -> list[Entry]:
        """Return what intake makes of readable messages."""
        readings = [self.intake.read(Arrival(raw, "worker68", None), now) for raw in messages]
        return [reading.entry for reading in readings if reading.entry is not None]

    def take_in(self, *messages: bytes, now: dt.datetime = NOW) -> list[Taken | None]:
        """Take readable messages in; return for each one its new job or None."""
        return intake.take_in(self.engine, self.entries(*messages, now=now), [], now)

    def suppress(self, chat_type: str, chat_id: int, name: str = "main") -> None:
        values = {"account": name, "chat_type": chat_type, "chat_id": chat_id, "reason": "asked", "created_at": NOW}
        self.run(lambda connection: connection.execute(insert(suppressions).values(**values)))

    # Attempts

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction of its own."""
        with transaction(self.engine) as connection:
            return work(connection)

    def begin(self, job: Job, number: int = 1, owner: str = OWNER, fence: int = FENCE) -> Attempt | None:
        attempt = Attempt(job, number, owner, fence)
        return attempt if self.run(lambda connection: attempts.begin(connection, [attempt], NOW))[0] else None

    def must_begin(self, job: Job, number: int = 1) -> Attempt:
        attempt = self.begin(job, number)
        assert attempt is not None
        return attempt

    def settle(self, attempt: Attempt, outcome: Outcome = SENT, now: dt.datetime = NOW) -> bool:
        return self.run(lambda connection: attempts.settle(connection, [(attempt, outcome)], now))[0]

    def revise(self, seq: int, outcome: Outcome = SENT) -> bool:
        return self.run(lambda connection: attempts.revise(connection, seq, outcome, NOW))

    def settled(self, outcome: Outcome = SENT, **fields: Any) -> Job:
        """Take a send in and bring it to an outcome."""
        job = self.send(**fields)
        assert self.settle(self.must_begin(job), outcome)
        return job

    # Out

    def row(self, seq: int) -> Row[Any]:
        with reading(self.engine) as connection:
            return connection.execute(select(jobs).where(jobs.c.seq == seq)).one()

    def rows(self) -> list[Row[Any]]:
        with reading(self.engine) as connection:
            return list(connection.execute(select(jobs).order_by(jobs.c.seq)))

    def requesters(self, seq: int) -> list[str]:
        """Return the Celery ids that asked for a job."""
        with reading(self.engine) as connection:
            query = select(requesters.c.task_id).where(requesters.c.seq == seq).order_by(requesters.c.id)
            return list(connection.scalars(query))

    def tries(self, seq: int) -> list[tuple[int, str | None]]:
        """Return number and ending of a job's attempts."""
        with reading(self.engine) as connection:
            columns = (attempts_table.c.number, attempts_table.c.ending)
            query = select(*columns).where(attempts_table.c.seq == seq).order_by(attempts_table.c.number)
            return [(row.number, row.ending) for row in connection.execute(query)]

    def count(self, table: Table) -> int:
        with reading(self.engine) as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0

    def in_outbox(self, kind: str | None = None) -> list[OutboxEntry]:
        """Return what is in the outbox; DEFERRED marks, which answer nobody, only where they are asked for."""
        entries = fetch(self.engine, [], [], NOW, 100_000)
        return [entry for entry in entries if entry.kind == kind or (kind is None and entry.kind != "deferred")]

    def replies(self) -> list[tuple[str, dict[str, Any]]]:
        """Return address and content of every reply in the outbox."""
        return [(entry.address, json.loads(entry.payload)) for entry in self.in_outbox("reply")]

    def told(self) -> list[str]:
        """Return as ``celery id: status or error code`` what the outbox tells, by Celery's own results."""
        return [f"{entry.address}: {_how(entry)}" for entry in self.in_outbox("result")]

    def clear_outbox(self) -> None:
        self.run(lambda connection: connection.execute(outbox.delete()))

    def lane(self, name: str = "main", depth: int = 100) -> list[int]:
        """Return the numbers of the jobs that stand in the account's lanes, in their order."""
        return [job.seq for job in self.load(name, depth)]

    def load(self, name: str = "main", depth: int = 100) -> list[Job]:
        """Return the first jobs of all lanes of the account, in their order."""
        heads, _ = lanes.find_lanes(self.engine, name, "", 1000)
        loaded = lanes.load_lanes(self.engine, name, depth, [head.lane for head in heads])
        return [job for job in loaded if isinstance(job, Job)]


def _how(entry: OutboxEntry) -> str:
    result = json.loads(entry.payload)["result"]
    reply = json.loads(result["exc_message"][0]) if "exc_message" in result else result
    return str(reply["error"]["code"] if reply["error"] else reply["status"])
