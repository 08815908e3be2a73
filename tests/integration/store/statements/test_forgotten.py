"""An attempt that the database has forgotten is recorded anew, and only where its job is as it was before the attempt."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Connection, delete, update

from tests.parts.jobs import NOW
from tests.parts.ledger import SENT, Ledger
from worker68.jobs.outcome import Outcome, cancelled
from worker68.jobs.states import Event
from worker68.store import waiting
from worker68.store.statements import attempts
from worker68.store.statements.attempts import Attempt
from worker68.store.statements.forgotten import settle_forgotten
from worker68.store.tables import attempts as attempts_table
from worker68.store.tables import jobs

LATER = NOW + dt.timedelta(minutes=1)


def forget(ledger: Ledger, attempt: Attempt) -> Attempt:
    """Let the database be as it was before the attempt began."""

    def work(connection: Connection) -> None:
        made = (attempts_table.c.seq == attempt.seq, attempts_table.c.number == attempt.number)
        connection.execute(delete(attempts_table).where(*made))
        before = {"state": "ready", "attempts": attempt.number - 1, "owner": None, "fence": None}
        connection.execute(update(jobs).where(jobs.c.seq == attempt.seq).values(before))

    ledger.run(work)
    return attempt


def settle(ledger: Ledger, *made: Attempt, outcome: Outcome = SENT) -> list[Attempt]:
    """Settle what the database has forgotten of these attempts; return those."""
    batch = [(attempt, outcome) for attempt in made]
    return ledger.run(lambda connection: settle_forgotten(connection, batch, LATER))


def test_what_was_forgotten_ends_with_what_became_of_it(ledger: Ledger) -> None:
    attempt = forget(ledger, ledger.must_begin(ledger.send(reply_to="orders")))
    assert settle(ledger, attempt) == [attempt]
    row = ledger.row(attempt.seq)
    assert (row.state, row.status, row.attempts, row.finished_at) == ("ended", "succeeded", 1, LATER)
    assert ledger.tries(attempt.seq) == [(1, "succeeded")]
    ((address, reply),) = ledger.replies()
    assert (address, reply["result"]) == ("orders", SENT.result)
    assert settle(ledger, attempt) == [], "a repeat after an unknown commit"
    assert len(ledger.replies()) == 1


def test_a_second_attempt_is_forgotten_by_itself(ledger: Ledger) -> None:
    job = ledger.send()
    first = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.back_off(connection, first, NOW, "busy", "busy", NOW))
    second = forget(ledger, ledger.must_begin(job, 2))
    assert settle(ledger, second) == [second]
    assert ledger.tries(job.seq) == [(1, "busy"), (2, "succeeded")]


def test_what_is_known_is_not_touched(ledger: Ledger) -> None:
    """Its attempt is there: so a person has made the job ready again."""
    attempt = ledger.must_begin(ledger.send())
    ledger.run(lambda connection: connection.execute(update(jobs).values(state="ready", attempts=0)))
    before = ledger.rows()
    assert settle(ledger, attempt) == []
    assert (ledger.rows(), ledger.tries(attempt.seq)) == (before, [(1, None)])


def test_what_another_worker_has_begun_since_is_not_touched(ledger: Ledger) -> None:
    attempt = forget(ledger, ledger.must_begin(ledger.send()))
    assert ledger.begin(attempt.job, owner="worker-b", fence=attempt.fence + 1) is not None
    before = ledger.rows()
    assert settle(ledger, attempt) == []
    assert ledger.rows() == before


def test_what_has_ended_since_is_not_touched(ledger: Ledger) -> None:
    attempt = forget(ledger, ledger.must_begin(ledger.send()))
    waiting.end_waiting(ledger.engine, [attempt.seq], Event.CANCEL, cancelled("called off"), NOW)
    assert settle(ledger, attempt) == []
    assert (ledger.row(attempt.seq).status, ledger.tries(attempt.seq)) == ("cancelled", [])


def test_of_several_only_those_that_were_forgotten_are_recorded(ledger: Ledger) -> None:
    made = [ledger.must_begin(ledger.send()) for _ in range(4)]
    gone = [forget(ledger, made[1]), forget(ledger, made[3])]
    assert settle(ledger, *made) == gone
    assert [ledger.row(attempt.seq).state for attempt in made] == ["sending", "ended", "sending", "ended"]


def test_a_send_counts_also_where_its_chat_must_not_be_contacted_any_more(ledger: Ledger) -> None:
    attempt = forget(ledger, ledger.must_begin(ledger.send()))
    assert attempt.job.chat is not None
    ledger.suppress(attempt.job.chat.type, attempt.job.chat.id)
    assert settle(ledger, attempt) == [attempt]
    assert ledger.row(attempt.seq).status == "succeeded"
