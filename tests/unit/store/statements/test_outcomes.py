"""An outcome becomes the columns of its row, and the row becomes the reply that says the same to each requester."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.parts.jobs import NOW, SEND
from worker68.jobs.outcome import (
    ErrorCode,
    Outcome,
    Reply,
    cancelled,
    error_dict,
    expired,
    failed,
    in_doubt,
    succeeded,
    whole_outcome,
)
from worker68.store.statements.outcomes import Requester, decode_done, outcome_columns, pack_reply, reply_of
from worker68.store.tables import BRIDGE_CODE_LENGTH

ASKED = Requester("t", "orders")


def reply_from(outcome: Outcome, to: Requester = ASKED, **columns: Any) -> Reply:
    """Return the reply that the row of a job gives which ended so."""
    job = {"job_id": "order-1", "account": "main", "task": SEND, "attempts": 1, "revision": 1}
    times = {"received_at": NOW, "finished_at": NOW}
    return reply_of(cast(Any, SimpleNamespace(**(job | times | outcome_columns(outcome) | columns))), to)


@pytest.mark.parametrize(
    "outcome",
    [
        succeeded({"message_id": 77, "text": "小鱼儿"}),
        failed(ErrorCode.REFUSED, "no", 1021),
        failed(ErrorCode.REFUSED, "no", "E_BUSY"),
        failed(ErrorCode.NOT_SENT, "no"),
        whole_outcome(in_doubt(ErrorCode.NO_VERDICT, "?"), {"muted": True}),
        expired("too late"),
        cancelled("called off"),
    ],
    ids=lambda outcome: str(outcome.status),
)
def test_the_reply_says_what_the_outcome_was(outcome: Outcome) -> None:
    reply = reply_from(outcome)
    assert (reply.status, reply.result, reply.reason) == (outcome.status, outcome.result, outcome.reason)
    assert reply.error == error_dict(outcome)


def test_why_a_job_has_waited_is_no_part_of_its_reply() -> None:
    assert reply_from(succeeded({}), reason="the bridge was away").reason is None


def test_a_reply_bears_the_id_and_the_metadata_of_its_requester() -> None:
    outcome = succeeded({})
    first, second = (
        reply_from(outcome, to) for to in (Requester("1", metadata='{"n": 1}'), Requester("2", metadata=None))
    )
    assert [(reply.task_id, reply.metadata) for reply in (first, second)] == [("1", {"n": 1}), ("2", None)]
    assert first.reply_id == second.reply_id != reply_from(outcome, revision=2).reply_id


def test_words_are_written_as_both_databases_can_hold_them() -> None:
    columns = outcome_columns(failed(ErrorCode.REFUSED, "a\x00b", "c\x00d"))
    assert (columns["error_message"], columns["bridge_code"]) == (
        "a\N{REPLACEMENT CHARACTER}b",
        "c\N{REPLACEMENT CHARACTER}d",
    )
    assert outcome_columns(expired("e\x00"))["reason"] == "e\N{REPLACEMENT CHARACTER}"


def test_a_long_code_of_the_bridge_is_cut_to_its_column() -> None:
    columns = outcome_columns(failed(ErrorCode.REFUSED, "no", "x" * (BRIDGE_CODE_LENGTH + 1)))
    assert columns["bridge_code"] == "x" * BRIDGE_CODE_LENGTH


@pytest.mark.parametrize(
    ("requester", "rows"),
    [
        (ASKED, [("reply", "orders"), ("result", "t")]),
        (Requester("t"), [("result", "t")]),
        (Requester("t", "orders", ignore_result=True), [("reply", "orders")]),
        (Requester("t", ignore_result=True), []),
    ],
)
def test_a_requester_learns_of_the_outcome_where_it_looks(requester: Requester, rows: list[tuple[str, str]]) -> None:
    assert [(row["kind"], row["address"]) for row in pack_reply(reply_from(succeeded({})), requester, NOW)] == rows


def test_the_reply_and_celerys_result_say_the_same() -> None:
    reply, result = pack_reply(reply_from(succeeded({"message_id": 77})), ASKED, NOW)
    said = json.loads(reply["payload"])
    assert (said["job_id"], said["result"]) == ("order-1", {"message_id": 77})
    assert json.loads(result["payload"])["result"] == said
    reply, result = pack_reply(reply_from(expired("too late")), ASKED, NOW)
    (raised,) = json.loads(result["payload"])["result"]["exc_message"]
    assert json.loads(raised) == json.loads(reply["payload"])


def test_before_the_first_step_is_done_there_is_nothing_done() -> None:
    assert decode_done(None) is None
    assert decode_done('{"muted":true}') == {"muted": True}
