"""What the tables say about jobs is said whole: lists newest first, a job with all who asked for it and all its attempts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from tests.parts.jobs import CHAT, LEAST_FIELDS, NOW, message, send_fields
from tests.parts.ledger import FENCE, OWNER, Ledger
from worker68.errors import DatabaseUnfit
from worker68.jobs.outcome import ErrorCode, failed
from worker68.store import reports
from worker68.store.migration import upgrade
from worker68.store.reports import (
    AttemptLine,
    RequesterLine,
    find_beginnings,
    find_jobs,
    has_jobs,
    list_jobs,
    load_lines,
    load_reports,
    open_ledger,
)
from worker68.store.statements import attempts

NOTICE = "worker68.set_group_notice"
LATER = NOW + dt.timedelta(seconds=60)


def listed(
    ledger: Ledger,
    *,
    account: str | None = None,
    state: str | None = None,
    status: str | None = None,
    limit: int = 9,
) -> tuple[list[int], bool]:
    found = list_jobs(ledger.engine, account=account, state=state, status=status, limit=limit)
    return [line.seq for line in found.lines], found.complete


# Lists


def test_jobs_are_listed_newest_first(ledger: Ledger) -> None:
    ready, other = ledger.send().seq, ledger.send(account="other").seq
    over = ledger.settled().seq
    failed_ = ledger.settled(failed(ErrorCode.REFUSED, "no")).seq
    assert listed(ledger) == ([failed_, over, other, ready], True)
    assert listed(ledger, limit=2) == ([failed_, over], True)
    assert listed(ledger, account="other") == ([other], True)
    assert listed(ledger, state="ready") == ([other, ready], True)
    assert listed(ledger, state="ended", account="main") == ([failed_, over], True)
    assert listed(ledger, status="succeeded") == ([over], True)
    assert listed(ledger, state="ended", status="failed") == ([failed_], True)
    assert listed(ledger, state="sending", status="failed") == ([], True)
    assert listed(ledger, account="nobody") == ([], True)


def test_what_is_under_way_is_listed_newest_first(ledger: Ledger) -> None:
    first, second, other = ledger.send(), ledger.send(), ledger.send(account="other")
    for job in (second, other, first):
        ledger.must_begin(job)
    ledger.send()
    assert listed(ledger, state="sending") == ([other.seq, second.seq, first.seq], True)
    assert listed(ledger, state="sending", account="main") == ([second.seq, first.seq], True)
    assert listed(ledger, state="sending", limit=1) == ([other.seq], True)


def test_a_list_says_where_there_may_be_more(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = ledger.send(), ledger.send(), ledger.send()
    assert listed(ledger) == ([third.seq, second.seq, first.seq], True)
    monkeypatch.setattr(reports, "LOOKED_THROUGH", 2)
    assert listed(ledger) == ([third.seq, second.seq], False)
    assert listed(ledger, limit=2) == ([third.seq, second.seq], True)
    ledger.must_begin(first)
    assert listed(ledger, state="sending") == ([first.seq], True), "what is under way is found however old it is"


def test_lines_come_in_the_order_that_was_asked_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "SEQS_PER_STATEMENT", 2)
    seqs = [ledger.send().seq for _ in range(5)]
    asked = [seqs[3], seqs[0], 4711, seqs[4], seqs[2], seqs[1]]
    assert [line.seq for line in load_lines(ledger.engine, asked)] == [seq for seq in asked if seq != 4711]
    assert load_lines(ledger.engine, []) == []


def test_a_line_says_how_a_job_ended(ledger: Ledger) -> None:
    job = ledger.settled(failed(ErrorCode.REFUSED, "no", 1021), job_id="order-1", expires_at=LATER.timestamp())
    (line,) = load_lines(ledger.engine, [job.seq])
    assert (line.job_id, line.account, line.task, line.attempts) == ("order-1", "main", job.task, 1)
    assert (line.state, line.status, line.reason) == ("ended", "failed", None)
    assert (line.error_code, line.error_message, line.bridge_code) == ("refused", "no", "1021")
    assert {"type": line.chat_type, "id": line.chat_id} == CHAT
    assert (line.received_at, line.due_at, line.expires_at, line.finished_at) == (NOW, None, LATER, NOW)


# One job


def test_a_report_holds_the_fields_the_result_and_all_who_asked(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(kwargs=send_fields(job_id="order-1", reply_to="orders"), task_id="b", priority=3))
    ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id="a"))
    first = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.back_off(connection, first, LATER, "busy", "the service is busy", NOW))
    assert ledger.settle(ledger.must_begin(job, 2), now=LATER)
    (report,) = load_reports(ledger.engine, [job.seq])
    assert [report.job] == load_lines(ledger.engine, [job.seq])
    assert (report.fields, report.result) == (send_fields(), {"message_id": 77})
    assert (report.priority, report.lane, report.revision) == (3, job.lane, 1)
    assert (report.custom_msg_id, report.step, report.done) == (job.custom_msg_id, 0, None)
    assert report.requesters == [RequesterLine("b", "orders"), RequesterLine("a", "")]
    assert report.attempts == [
        AttemptLine(1, 0, OWNER, FENCE, NOW, NOW, "busy"),
        AttemptLine(2, 0, OWNER, FENCE, NOW, LATER, "succeeded"),
    ]


def test_a_report_says_which_step_is_under_way(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(NOTICE, LEAST_FIELDS[NOTICE]))
    attempt = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.note_progress(connection, attempt, "read 5 of 9"))
    (begun,) = load_reports(ledger.engine, [job.seq])
    assert (begun.job.state, begun.step, begun.done, begun.progress) == ("sending", 0, None, "read 5 of 9")
    assert begun.attempts == [AttemptLine(1, 0, OWNER, FENCE, NOW, None, None)]
    ledger.run(lambda connection: attempts.advance(connection, attempt, {"notice_id": 5}, NOW))
    (further,) = load_reports(ledger.engine, [job.seq])
    assert (further.job.state, further.step, further.done) == ("ready", 1, {"notice_id": 5})
    assert (further.result, further.attempts[0].ending) == (None, "succeeded")


def test_reports_come_in_the_order_of_arrival_and_of_one_account_where_it_is_named(ledger: Ledger) -> None:
    first, other, last = ledger.send(), ledger.send(account="other"), ledger.send()
    asked = [last.seq, other.seq, 4711, first.seq]

    def loaded(account: str | None = None) -> list[int]:
        return [report.job.seq for report in load_reports(ledger.engine, asked, account)]

    assert loaded() == [first.seq, other.seq, last.seq]
    assert loaded("main") == [first.seq, last.seq]


def test_a_job_is_found_by_its_id_or_by_that_of_a_message(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id="a"))
    (other,) = ledger.arrive(message(kwargs=send_fields(job_id="order-1", account="other"), task_id="b"))

    def found(*asked: Any) -> list[int]:
        return [report.job.seq for report in find_jobs(ledger.engine, *asked)]

    assert found("order-1") == [job.seq, other.seq]
    assert found("order-1", "other") == [other.seq]
    assert (found("a"), found("b")) == ([job.seq], [other.seq])
    assert found("a", "other") == [], "its job is another account's"
    assert found("order") == []


@pytest.mark.parametrize("beginning", ["7b1f0c9e", "7b1f0c9e-3f0e", "order-47"])
def test_a_job_is_found_by_the_beginning_of_its_id(ledger: Ledger, beginning: str) -> None:
    ids = [
        "7b1f0c9e-3f0e-4a53-9d0f-6f3f6a2e1f57",
        "7b1f0c9d-3f0e-4a53-9d0f-6f3f6a2e1f57",
        "order-4711",
        "ORDER-4711",
        "order-4611",
    ]
    jobs = {job_id: ledger.send(job_id=job_id) for job_id in ids}
    (seq,) = find_beginnings(ledger.engine, beginning, None, 5)
    assert jobs[next(job_id for job_id in ids if job_id.startswith(beginning))].seq == seq
    assert find_beginnings(ledger.engine, beginning, "other", 5) == []
    assert find_beginnings(ledger.engine, "7b1f0c9_", None, 5) == []


def test_no_more_beginnings_are_found_than_asked_for(ledger: Ledger) -> None:
    seqs = {ledger.send(job_id=f"7b1f0c9e-{number}").seq for number in range(4)}
    found = find_beginnings(ledger.engine, "7b1f0c9e", None, 3)
    assert len(found) == 3
    assert seqs.issuperset(found)
    assert found == sorted(found)


def test_only_an_index_in_the_order_of_characters_finds_old_beginnings_of_any_kind(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's follows a language; of a UUID it finds all the same."""
    monkeypatch.setattr(reports, "BEGINNINGS_LOOKED_THROUGH", 2)
    ids = ("order-1", "7b1f0c9e-1", "order-2", "7b1f0c9e-2")
    jobs = {job_id: ledger.send(job_id=job_id).seq for job_id in ids}
    assert find_beginnings(ledger.engine, "7b1f0c9e", None, 9) == [jobs["7b1f0c9e-1"], jobs["7b1f0c9e-2"]]
    old = [jobs["order-1"]] if ledger.engine.dialect.name == "sqlite" else []
    for account in (None, "main"):
        assert find_beginnings(ledger.engine, "order-", account, 9) == [*old, jobs["order-2"]]
    assert find_beginnings(ledger.engine, "order-", "other", 9) == []


def test_an_account_has_jobs_also_when_all_have_ended(ledger: Ledger) -> None:
    assert not has_jobs(ledger.engine, "main")
    ledger.settled()
    assert has_jobs(ledger.engine, "main")
    assert not has_jobs(ledger.engine, "other")


# Which database


def test_a_file_that_is_not_there_is_not_made_by_looking(sqlite_url: str) -> None:
    file = make_url(sqlite_url).database
    assert file is not None
    with pytest.raises(DatabaseUnfit, match=r"there is no SQLite file .*: run `worker68 db upgrade`"):
        open_ledger(sqlite_url)
    assert not Path(file).exists()


def test_a_database_is_opened_once_it_has_the_tables(sqlite_url: str) -> None:
    file = make_url(sqlite_url).database
    assert file is not None
    Path(file).touch()
    with pytest.raises(DatabaseUnfit, match="has no tables yet"):
        open_ledger(sqlite_url)
    upgrade(sqlite_url)
    engine = open_ledger(sqlite_url)
    assert not has_jobs(engine, "main")
    engine.dispose()
