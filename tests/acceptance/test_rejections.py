"""Jobs that may not run: every wrong field is named, nothing is written to the bridge, and the next job goes on."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text

from tests.acceptance.conftest import GROUP_CHAT, MUTE, SEND, SYNC, Stage, envelope, name

STAGE = {"accounts": {"reader": {"allowed_tasks": [SYNC]}}}

FRONT_DOOR = "worker68"


def frames(stage: Stage) -> int:
    """Count the frames at all bridges, but for the question that each link asks by itself when it has connected."""
    received = [one for bridge in stage.bridges.values() for one in list(bridge.received)]
    return sum(one.frame["type"] != "getApiUrl" for one in received)


def refuse(stage: Stage, task: str = SEND, queue: str = "worker68.main", **fields: Any) -> dict[str, Any]:
    """Send a job that must fail at once and never reach a bridge; return its error."""
    before = frames(stage)
    reply = stage.end_of(stage.send_task(task, queue, **fields))
    assert reply["status"] == "failed"
    assert reply["result"] is None
    assert reply["attempts"] == 0
    assert frames(stage) == before
    error: dict[str, Any] = reply["error"]
    return error


def test_every_wrong_field_is_named(stage: Stage) -> None:
    error = refuse(
        stage,
        chat={"type": "channel", "id": 0, "name": "x"},
        text="",
        mentions=["nobody"],
        quote={"text": "x"},
        txt="typo",
        account="UPPER",
        job_id="",
        send_at="tomorrow",
        expires_at="2026-01-01T00:00:00",
        ordered="yes",
        reject_if_late=1,
        metadata=[],
    )

    assert error["code"] == "invalid_job"
    message = error["message"]
    wrong = ["chat.type", "chat.id", "chat.name", "text", "mentions[0]", "quote.message_id", "quote.user_id"]
    wrong += ["txt", "account", "job_id", "send_at", "expires_at", "ordered", "reject_if_late", "metadata"]
    assert [field for field in wrong if f"{field}: " not in message] == []


def test_a_text_that_the_client_never_sends_is_invalid(stage: Stage) -> None:
    error = refuse(stage, chat=GROUP_CHAT, text="child _process")

    assert error["code"] == "invalid_job"
    assert "text: contains 'child_process'" in error["message"]


def test_a_typo_gets_a_hint(stage: Stage) -> None:
    error = refuse(stage, chat=GROUP_CHAT, txt="hello")

    assert error["code"] == "invalid_job"
    assert "txt: unknown field; did you mean 'text'?" in error["message"]
    assert "text: missing" in error["message"]


@pytest.mark.parametrize(
    ("task", "fields", "field"),
    [
        (SEND, {"chat": GROUP_CHAT, "text": "x" * 20_001}, "text"),
        (SEND, {"chat": GROUP_CHAT, "text": 5}, "text"),
        (SEND, {"chat": GROUP_CHAT, "text": None}, "text"),
        (SEND, {"chat": {"type": "group", "id": 2**63}, "text": "x"}, "chat.id"),
        (SEND, {"chat": {"type": "group", "id": "389284"}, "text": "x"}, "chat.id"),
        (SEND, {"chat": {"type": "group", "id": True}, "text": "x"}, "chat.id"),
        (SEND, {"chat": GROUP_CHAT, "text": "x", "job_id": "x" * 129}, "job_id"),
        (SEND, {"chat": GROUP_CHAT, "text": "x", "job_id": "a\x00b"}, "job_id"),
        (SEND, {"chat": GROUP_CHAT, "text": "x", "metadata": {"x": "x" * 4096}}, "metadata"),
        (SEND, {"chat": GROUP_CHAT, "text": "x", "send_at": 1_800_000_000_000}, "send_at"),
        (SEND, {"chat": GROUP_CHAT, "text": "x", "send_at": "2026-12-01T00:00:00"}, "send_at"),
        (MUTE, {"group_id": 1, "user_id": 1, "seconds": -1}, "seconds"),
        (MUTE, {"group_id": 1, "user_id": 1}, "seconds"),
        (MUTE, {"group_id": 1, "user_id": 1, "seconds": 1.5}, "seconds"),
        (SYNC, {"group_id": 1}, "group_id"),
    ],
)
def test_a_field_out_of_bounds_is_invalid(stage: Stage, task: str, fields: dict[str, Any], field: str) -> None:
    error = refuse(stage, task, **fields)

    assert error["code"] == "invalid_job"
    assert f"{field}: " in error["message"]


def test_bounds_themselves_are_allowed(stage: Stage) -> None:
    words = name().ljust(20_000, "x")

    reply = stage.end_of(stage.send(words, job_id=name().ljust(128, "x"), metadata={"x": "x" * 4000}))

    assert reply["status"] == "succeeded"
    assert stage.sent(words) == 1


def test_positional_arguments_are_invalid(stage: Stage) -> None:
    result = stage.send_task(SEND, options={"args": [GROUP_CHAT, "x"]})

    error = stage.end_of(result)["error"]
    assert error["code"] == "invalid_job"
    assert "args: " in error["message"]


def test_another_account_than_the_queues_is_invalid(stage: Stage) -> None:
    error = refuse(stage, queue="worker68.main", account="reader", chat=GROUP_CHAT, text="x")

    assert error["code"] == "invalid_job"
    assert "account: " in error["message"]


def test_an_account_that_nobody_configured_is_unknown(stage: Stage) -> None:
    error = refuse(stage, queue=FRONT_DOOR, account="nobody", chat=GROUP_CHAT, text="x")

    assert error["code"] == "unknown_account"
    assert "nobody" in error["message"]


def test_an_unknown_account_answers_at_the_reply_list_too(stage: Stage) -> None:
    reply_to = name()

    stage.send_task(SYNC, FRONT_DOOR, account="nobody", reply_to=reply_to)

    assert stage.take_reply(reply_to)["error"]["code"] == "unknown_account"


def test_a_task_that_the_account_does_not_take_is_not_permitted(stage: Stage) -> None:
    error = refuse(stage, queue="worker68.reader", chat=GROUP_CHAT, text="x")

    assert error["code"] == "not_permitted"
    assert stage.end_of(stage.send_task(SYNC, "worker68.reader"))["status"] == "succeeded"


def suppress(stage: Stage, group_id: int) -> None:
    """Put a group on the do-not-contact list, as an operator would with SQL."""
    with stage.database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO suppressions (account, chat_type, chat_id, reason, created_at)"
                " VALUES ('main', 'group', :group_id, 'asked to be left alone', :now)"
            ),
            {"group_id": group_id, "now": dt.datetime.now(dt.UTC).replace(tzinfo=None)},
        )


def test_nothing_is_sent_to_a_chat_on_the_do_not_contact_list(stage: Stage) -> None:
    barred = {"type": "group", "id": 441298}
    suppress(stage, 441298)

    assert refuse(stage, chat=barred, text="x")["code"] == "suppressed"

    moderation = stage.send_task(MUTE, group_id=441298, user_id=7128348, seconds=30)
    assert stage.end_of(moderation)["status"] == "succeeded"
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"


def test_a_chat_that_is_suppressed_while_its_job_waits_gets_nothing(stage: Stage) -> None:
    words, chat = name(), {"type": "group", "id": 520117}
    result = stage.send(words, chat=chat, send_at=(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=12)).isoformat())
    stage.wait(lambda: result.state == "DEFERRED")
    suppress(stage, 520117)

    assert stage.end_of(result)["error"]["code"] == "suppressed"
    assert stage.sent(words) == 0


@pytest.mark.parametrize("reply_to", ["a b", "", "x" * 101, "worker68:replies", "stream:", "a/b", 5, ["a"], "a\n"])
def test_a_bad_reply_to_shows_in_the_row_and_on_the_dead_list(stage: Stage, reply_to: Any) -> None:
    mark = name()
    before = set(stage.redis.keys("worker68:replies:*"))

    result = stage.send(mark, reply_to=reply_to)

    assert stage.end_of(result)["error"]["code"] == "invalid_job"
    (dead,) = stage.wait(lambda: stage.dead(result.id))
    assert "reply_to: " in dead["reason"]
    assert dead["queue"] == "worker68.main"
    row = stage.row(result.id)
    assert row is not None
    assert (row["state"], row["status"], row["error_code"]) == ("ended", "failed", "invalid_job")
    assert stage.frames(mark) == []
    assert set(stage.redis.keys("worker68:replies:*")) == before


def test_an_invalid_job_answers_at_a_good_reply_to(stage: Stage) -> None:
    reply_to = name()

    result = stage.send_task(SEND, chat=GROUP_CHAT, reply_to=reply_to, metadata={"n": 1})

    reply = stage.take_reply(reply_to)
    assert reply["error"]["code"] == "invalid_job"
    assert (reply["task_id"], reply["job_id"], reply["metadata"]) == (result.id, result.id, {"n": 1})
    assert stage.dead(result.id) == []


def test_an_invalid_job_does_not_hold_its_job_id(stage: Stage) -> None:
    job_id, words = name(), name()
    assert refuse(stage, chat=GROUP_CHAT, txt=words, job_id=job_id)["code"] == "invalid_job"

    assert stage.end_of(stage.send(words, job_id=job_id))["status"] == "succeeded"


def test_an_unknown_task_is_parked_with_a_reason(stage: Stage) -> None:
    job_id = name()
    stage.push(envelope("worker68.send_carrier_pigeon", {"job_id": job_id, "coop": 7}))

    row = stage.wait(lambda: stage.row(job_id))

    assert (row["state"], row["status"]) == ("deferred", None)
    assert "worker68.send_carrier_pigeon" in row["reason"]
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"


def test_a_task_of_somebody_else_is_parked_too(stage: Stage) -> None:
    job_id = name()
    stage.push(envelope("celery.chord_unlock", {"job_id": job_id}), FRONT_DOOR)

    assert stage.wait(lambda: stage.row(job_id))["state"] == "deferred"
