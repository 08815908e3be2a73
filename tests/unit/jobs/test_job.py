"""What makes two messages the same thing to do, and which jobs stand in one lane."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.parts.jobs import LEAST_FIELDS, MUTE, SEND, SYNC, job, mute_fields, order, send_fields
from worker68.jobs.job import encode_fields, lane_of
from worker68.tasks import TASKS
from worker68.tasks.send_message import SendMessage

QUOTE = {"message_id": 5, "text": "before", "user_id": 7, "name": "Ann"}


def content(task: str = SEND, queue_account: str | None = None, **fields: Any) -> str:
    return order(task, send_fields(**fields) if task == SEND else fields, queue_account).content


@pytest.mark.parametrize(
    "same",
    [
        {"account": "main"},
        {"quote": None},
        {"mentions": []},
        {"metadata": {"a": 1}},
        {"reply_to": "orders"},
        {"send_at": 1},
        {"expires_at": 2_000_000_000},
        {"reject_if_late": True},
        {"ordered": False},
        {"job_id": "x"},
    ],
)
def test_defaults_and_what_does_not_say_what_to_do_leave_the_content_alone(same: dict[str, Any]) -> None:
    assert content(**same) == content()


@pytest.mark.parametrize(
    "other",
    [
        {"text": "hello "},
        {"chat": {"type": "friend", "id": 389284}},
        {"chat": {"type": "group", "id": 389285}},
        {"account": "other"},
        {"mentions": [1]},
        {"quote": QUOTE},
    ],
)
def test_another_thing_to_do_is_another_content(other: dict[str, Any]) -> None:
    assert content(**other) != content()


def test_the_order_of_keys_is_irrelevant() -> None:
    backwards = {key: dict(reversed(QUOTE.items())) if key == "quote" else 0 for key in ("quote",)}
    assert content(quote=backwards["quote"]) == content(quote=QUOTE)
    turned = b'{"text": "hello", "chat": {"id": 389284, "type": "group"}}'
    assert order(SEND, turned).content == content()


def test_the_order_of_mentions_counts() -> None:
    assert content(mentions=[1, 2]) != content(mentions=[2, 1])


def test_the_queue_says_the_account_as_well_as_the_field_does() -> None:
    assert content(queue_account="other") == content(account="other")


def test_the_job_id_is_the_producers_or_the_celery_id() -> None:
    assert order(SEND, send_fields(job_id="mine"), task_id="celery").job_id == "mine"
    assert order(SEND, send_fields(), task_id="celery").job_id == "celery"


@pytest.mark.parametrize("task", TASKS)
def test_a_row_holds_all_that_is_not_a_default(task: str) -> None:
    fields = job(1, task, LEAST_FIELDS[task]).fields
    assert msgspec.json.decode(encode_fields(fields), type=type(fields)) == fields


def test_a_field_that_a_newer_version_has_added_stands_only_in_rows_that_use_it() -> None:
    newer = msgspec.defstruct("Newer", [("silent", bool, False)], bases=(SendMessage,), frozen=True, kw_only=True)
    plain, silent = (encode_fields(msgspec.convert(send_fields(**more), newer)) for more in ({}, {"silent": True}))
    assert msgspec.json.decode(plain, type=SendMessage) == job(1).fields
    with pytest.raises(msgspec.ValidationError, match="silent"):
        msgspec.json.decode(silent, type=SendMessage)


def lane(task: str, ordered: bool = True, **fields: Any) -> str:
    made = order(task, {SEND: send_fields, MUTE: mute_fields, SYNC: dict}[task](**fields))
    return lane_of(made.kind, made.fields, ordered)


def test_a_lane_is_a_chats_jobs_of_one_class() -> None:
    group = {"type": "group", "id": 5}
    lanes = [
        lane(SEND, chat=group),
        lane(SEND, chat={"type": "group", "id": 6}),
        lane(SEND, chat={"type": "friend", "id": 5}),
        lane(SEND, ordered=False, chat=group),
        lane(MUTE, group_id=5),
        lane(SYNC),
    ]
    assert len(set(lanes)) == len(lanes)
    assert lane(SEND, chat=group, text="other", mentions=[1]) == lanes[0]
    assert lane(MUTE, group_id=5, user_id=9) == lanes[4]


def test_reads_of_one_subject_share_a_lane_also_where_they_opted_out_of_order() -> None:
    assert lane(SYNC, ordered=False) == lane(SYNC)


@pytest.mark.parametrize("task", TASKS)
def test_a_lanes_name_fits_its_column(task: str) -> None:
    largest = 2**63 - 1
    fields = dict(LEAST_FIELDS[task])
    given: dict[str, Any] = {name: largest for name in ("group_id", "user_id") if name in fields}
    given |= {"chat": {"type": "friend", "id": largest}} if "chat" in fields else {}
    assert len(job(1, task, fields | given, ordered=False).lane) <= 120
