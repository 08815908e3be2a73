"""Whatever a producer or a bridge writes is kept and given back as it was, or at least never costs a job its outcome."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import Ledger
from worker68.jobs.outcome import ErrorCode, failed, in_doubt, succeeded
from worker68.jobs.snapshot import GROUPS, GroupRow, ListSeen
from worker68.store import waiting
from worker68.store.statements import attempts, snapshots
from worker68.store.tables import groups

ODD = {
    "nul": "before\x00after",
    "family": "👩‍👩‍👧‍👦",
    "flag": "🇨🇳",
    "right to left": "\u202eהפוך",
    "line breaks": "a\r\nb\u2028c\\n",
    "control": "".join(map(chr, range(1, 32))) + "\x7f\x85",
    "quotes": "'; DROP TABLE jobs; -- \"\\ %s %(a)s :b {c}",
    "astral": "\U0010ffff\uffff",
    "combining": "é" + "\u0301" * 50,
}
odd = pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())


@odd
def test_a_text_comes_back_as_it_was(ledger: Ledger, text: str) -> None:
    job = ledger.send(text=text, metadata={text: text}, reply_to="orders")
    (loaded,) = waiting.load_jobs(ledger.engine, [job.seq])
    assert loaded.fields == job.fields
    assert loaded.fields.text == text  # type: ignore[attr-defined]
    ledger.settle(ledger.must_begin(job), succeeded({"echo": text}))
    ((_, reply),) = ledger.replies()
    assert reply["metadata"] == {text: text}
    assert reply["result"] == {"echo": text}


@odd
def test_the_same_odd_text_is_the_same_content(ledger: Ledger, text: str) -> None:
    first = message(kwargs=send_fields(text=text, job_id="a"), task_id="1")
    assert len(ledger.arrive(first)) == 1
    assert ledger.arrive(message(kwargs=send_fields(text=text, job_id="a"), task_id="2")) == []
    assert ledger.in_outbox() == []


@odd
def test_the_bridges_words_never_cost_an_outcome(ledger: Ledger, text: str) -> None:
    job = ledger.settled(failed(ErrorCode.REFUSED, f"the bridge refused: {text}", text), reply_to="orders")
    ((_, reply),) = ledger.replies()
    assert reply["status"] == "failed"
    assert ledger.row(job.seq).status == "failed"


@odd
def test_the_bridges_words_never_cost_a_back_off(ledger: Ledger, text: str) -> None:
    job = ledger.send()
    attempt = ledger.must_begin(job)
    assert ledger.run(lambda connection: attempts.back_off(connection, attempt, NOW, "busy", f"busy: {text}", NOW))
    assert ledger.row(job.seq).state == "deferred"


def test_a_long_code_of_the_bridge_never_costs_an_outcome(ledger: Ledger) -> None:
    job = ledger.settled(failed(ErrorCode.REFUSED, "x" * 100_000, "y" * 100_000))
    assert ledger.row(job.seq).status == "failed"


@odd
def test_a_groups_odd_name_never_costs_a_snapshot(ledger: Ledger, text: str) -> None:
    row = GroupRow(5, text, None, None, None, None, text)

    def apply() -> dict[str, Any]:
        seen = ListSeen(GROUPS, None, (row,), whole=True, announced=1)
        return ledger.run(lambda connection: snapshots.apply(connection, "main", seen, NOW))

    assert apply()["added"] == 1
    again = apply()
    assert (again["added"], again["changed"], again["removed"]) == (0, 0, 0)
    name, notice = ledger.run(lambda connection: connection.execute(select(groups.c.name, groups.c.notice)).one())
    assert name == notice == text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def test_large_numbers_come_back_whole(ledger: Ledger) -> None:
    largest = 2**63 - 1
    job = ledger.send(chat={"type": "friend", "id": largest}, metadata={"huge": 10**60}, reply_to="orders")
    (loaded,) = waiting.load_jobs(ledger.engine, [job.seq])
    assert loaded.chat is not None
    assert loaded.chat.id == largest
    ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))
    ((_, reply),) = ledger.replies()
    assert reply["metadata"] == {"huge": 10**60}


def test_the_largest_message_is_kept(ledger: Ledger) -> None:
    quote = {"message_id": 1, "text": "q" * 500_000, "user_id": 1, "name": "n"}
    job = ledger.send(text="🙂" * 20_000, quote=quote, mentions=list(range(1, 5000)))
    assert waiting.load_jobs(ledger.engine, [job.seq]) == [job]
