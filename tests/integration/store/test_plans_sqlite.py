"""No statement of ours reads through a large table on SQLite, or through all jobs of an account.

It keeps no statistics, so its plans are the same however much there is: a few rows are enough to see them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import event

from tests.parts.jobs import NOW, account, message, send_fields
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.lists import GROUP, Lists, member
from worker68.clock import utc_now
from worker68.execution import recovery
from worker68.execution.intake import PARKED_FOR, Arrival, Intake
from worker68.jobs.outcome import expired
from worker68.jobs.snapshot import GROUP_MEMBERS
from worker68.jobs.states import Event
from worker68.limits.rates import parse_limits
from worker68.store import figures, inspection, lanes, outbox, reports, snapshots, standing, waiting
from worker68.store.engine import Engine
from worker68.store.statements import attempts

_LARGE: Final = ("jobs", "requesters", "attempts", "refused", "group_members", "snapshot_changes")
#: From end to end; by the account alone in an index of all jobs, ended ones too; by the number with one end open. An index of the
#: jobs that wait may be read through, and one that has the order that is asked for.
_READS_THROUGH: Final = re.compile(
    rf"SCAN ({'|'.join(_LARGE)})\b(?!.* ix_jobs_)"
    r"|SCAN cancellations$"
    r"|SEARCH \w+ USING (COVERING )?INDEX sqlite_autoindex_jobs_\d+ \(account=\?\)"
    r"|SEARCH jobs USING INTEGER PRIMARY KEY \(rowid[<>]\?\)"
)


@contextmanager
def reading_through(engine: Engine) -> Iterator[list[str]]:
    """Collect each part of a plan for which SQLite reads far more than it is asked for."""
    found: list[str] = []

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if many or not statement.lstrip().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            return
        beside = cursor.connection.cursor()
        plan = beside.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()
        # One that asks for the first by an index of all jobs reads that one alone.
        if "ORDER BY jobs.job_id" not in statement:
            found.extend(f"{words}: {statement}" for *_, words in plan if _READS_THROUGH.match(words))

    event.listen(engine, "before_cursor_execute", explain)
    yield found
    event.remove(engine, "before_cursor_execute", explain)


def test_sqlite_reads_through_no_table_of_jobs_or_members(sqlite_url: str) -> None:
    with open_ledger(sqlite_url) as ledger, reading_through(ledger.engine) as found:
        lists, engine, now = Lists(ledger), ledger.engine, utc_now()
        for most in (9, 7, 2):
            number = lists.see([member(id_) for id_ in range(1, most)], GROUP_MEMBERS, group=GROUP)["snapshot_id"]
        snapshots.accept(engine, number, now)
        _, second, third = ledger.arrive(*(message(kwargs=send_fields(job_id=name)) for name in "abc"))
        ledger.arrive(message(kwargs=send_fields(job_id="a"), task_id="again"))
        take_in_impatient(ledger)
        lanes.find_lanes(engine, "main", "", 100)
        lanes.load_lanes(engine, "main", 2, [second.lane])
        look_at_what_waits(ledger, second.lane)
        waiting.cancel(engine, ["again", "unseen"], "no", now)
        assert ledger.settle(ledger.must_begin(second))
        attempt = ledger.must_begin(third)
        ledger.run(lambda connection: attempts.back_off(connection, attempt, now, "busy", "busy", now))
        assert waiting.end_waiting(engine, [third.seq], Event.EXPIRE, expired("late"), now)
        ledger.must_begin(ledger.send())
        begun = ledger.run(lambda connection: attempts.find_begun(connection, "main"))
        ledger.run(lambda connection: attempts.resolve(connection, begun, lambda _: True, now))
        outbox.fetch_due(engine, ["main"], None, now, now, 9)
        outbox.fetch_due(engine, ["main"], ["other"], now, now, 9)
        look_at_jobs(ledger)
    assert not found, "\n".join(found)


def take_in_impatient(ledger: Ledger) -> None:
    door = Intake(ledger.engine, {"main": account(limits=parse_limits({"chat": "1/s"}))})
    soon = NOW.timestamp() + 60
    door.take_in([Arrival(message(kwargs=send_fields(expires_at=soon, reject_if_late=True)), "q", None)], NOW)


def look_at_what_waits(ledger: Ledger, lane: str) -> None:
    engine, now = ledger.engine, utc_now()
    (last,) = ledger.arrive(message())
    waiting.find_overdue(engine, "main", now)
    waiting.release_unknown(engine, "main", now)
    waiting.find_unknown(engine, "main", lane)
    waiting.release_due(engine, "main", now)
    waiting.next_due(engine, "main")
    waiting.next_expiry(engine, "main")
    ledger.arrive(message("worker68.later", {}))
    waiting.find_parked(engine, "main")
    recovery.end_parked(engine, "main", NOW + PARKED_FOR)
    waiting.count_waiting(engine, "main")
    assert waiting.find_unfinished(engine, ["main", "other"], waiting.newest_seq(engine)) == {"main"}
    waiting.write_reasons(engine, {last.seq: "why"}, now)
    figures.count_waiting_jobs(engine, ["main"])
    figures.find_waiting_accounts(engine)
    standing.list_waiting(engine, ["main", "other"], None, 50)
    standing.count_in_lanes(engine, [("main", lane)])
    standing.find_ahead(engine, [last.seq])
    standing.find_reasons_beside(engine, [last.seq])
    inspection.find_scheduled(engine, ["main", "other"])
    inspection.find_reserved(engine, ["main", "other"])


def look_at_jobs(ledger: Ledger) -> None:
    engine = ledger.engine
    reports.find_jobs(engine, "a")
    reports.has_jobs(engine, "main")
    for state in (None, "ready", "sending"):
        reports.list_jobs(engine, account="main", state=state, limit=9)
    inspection.find_by_ids(engine, ["main", "other"], ["again"])
    inspection.find_revoked(engine, ["again"])
    figures.count_in_doubt(engine, NOW)
