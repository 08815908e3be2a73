"""What remote control is told from the tables: the right jobs, in order, and never more than one answer holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Select, text

from tests.parts.jobs import CHAT, MUTE, NOW, message, mute_fields, send_fields
from tests.parts.ledger import Ledger
from worker68.jobs.states import State
from worker68.store import inspection, waiting
from worker68.store.inspection import MOST, Found, find_by_ids, find_reserved, find_revoked, find_scheduled
from worker68.store.statements import attempts

SOON = NOW + dt.timedelta(seconds=60)
LATER = NOW + dt.timedelta(seconds=120)


def at(when: dt.datetime, **fields: object) -> bytes:
    return message(kwargs=send_fields(send_at=when.timestamp(), **fields))


def test_what_is_not_due_is_scheduled_and_what_is_in_its_lane_is_reserved(ledger: Ledger) -> None:
    later, ready, soon, other, backs_off = ledger.arrive(
        at(LATER), message(), at(SOON), at(SOON, account="other"), message(MUTE, mute_fields())
    )
    attempt = ledger.must_begin(backs_off)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, LATER, "busy", "busy", NOW))
    ledger.must_begin(ledger.send(chat={"type": "friend", "id": 7}))  # under way: neither

    assert [one.seq for one in find_scheduled(ledger.engine, ["main"])] == [soon.seq, later.seq]
    assert [one.seq for one in find_scheduled(ledger.engine, ["other"])] == [other.seq]
    assert sorted(one.seq for one in find_reserved(ledger.engine, ["main", "other"])) == [ready.seq, backs_off.seq]
    assert find_scheduled(ledger.engine, []) == find_reserved(ledger.engine, []) == []


def test_a_job_is_shown_without_its_fields(ledger: Ledger) -> None:
    job = ledger.send(text="secret", job_id="order-1", send_at=SOON.timestamp())

    (found,) = find_scheduled(ledger.engine, ["main"])

    assert (found.task_id, found.job_id, found.account, found.task) == (job.task_id, "order-1", "main", job.task)
    assert {"type": found.chat_type, "id": found.chat_id} == CHAT
    assert (found.state, found.status, found.due_at) == (State.DEFERRED, None, SOON)
    assert "secret" not in repr(found)


def test_one_answer_holds_so_many_jobs_at_most(ledger: Ledger) -> None:
    messages = [at(SOON + dt.timedelta(seconds=number)) for number in range(MOST)]
    ledger.arrive(*[message(kwargs=send_fields(account="other")) for _ in range(MOST)], *messages)
    ledger.arrive(*[message() for _ in range(MOST)], at(SOON - dt.timedelta(seconds=1), account="other"))

    scheduled = find_scheduled(ledger.engine, ["main", "other"])

    assert len(scheduled) == MOST
    assert [one.due_at for one in scheduled] == sorted(one.due_at for one in scheduled if one.due_at)
    assert scheduled[0].account == "other"
    assert len(find_reserved(ledger.engine, ["main", "other"])) == MOST


def test_a_job_is_found_by_each_id_that_asked_for_it(ledger: Ledger) -> None:
    (first,) = ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id="a"))
    ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id="b"))
    ledger.settle(ledger.must_begin(first))

    found = find_by_ids(ledger.engine, ["main"], ["b", "a", "never seen", "x" * 300])

    assert sorted((one.task_id, one.seq, one.state, one.status) for one in found) == [
        ("a", first.seq, "ended", "succeeded"),
        ("b", first.seq, "ended", "succeeded"),
    ]
    assert find_by_ids(ledger.engine, ["other"], ["a"]) == []


def test_revoked_are_those_that_were_cancelled_and_those_that_have_not_come(ledger: Ledger) -> None:
    begun, waits = ledger.arrive(message(task_id="begun"), message(task_id="waits"))
    ledger.must_begin(begun)
    waiting.cancel(ledger.engine, ["begun", "waits", "unseen"], "revoked", NOW)

    assert sorted(find_revoked(ledger.engine, ["begun", "waits"])) == ["unseen", "waits"]
    assert find_revoked(ledger.engine, []) == ["unseen"]
    assert waits.task_id == "waits"


@pytest.mark.parametrize("find", [find_scheduled, find_reserved])
def test_the_questions_walk_along_an_index(
    ledger: Ledger, find: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a database without statistics: Celery's thread waits for the answer."""
    asked: list[Select[Any]] = []

    def note(_: Connection, query: Select[Any]) -> list[Found]:
        asked.append(query)
        return []

    monkeypatch.setattr(inspection, "_read", note)
    find(ledger.engine, ["main"])
    plain = str(asked[0].compile(ledger.engine, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN QUERY PLAN " if ledger.engine.dialect.name == "sqlite" else "EXPLAIN "

    plan = str(ledger.run(lambda connection: connection.execute(text(explain + plain)).all()))

    assert "ix_jobs_not_due" in plan or "ix_jobs_in_lane" in plan
    assert "USE TEMP B-TREE" not in plan.partition("SUBQUERY")[0], "but for the few messages of one job"
