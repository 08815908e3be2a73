"""A change and its announcement: two steps, one reply that says what was done, whatever becomes of the second."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text

from tests.acceptance.conftest import GROUP, Stage, name
from worker68.simulator.population import PLAIN_GROUP

pytestmark = pytest.mark.parametrize("shared_stage", ["postgresql"], indirect=True, scope="module")

#: Three announcements are waited for in vain for so long; all others end much sooner.
STAGE = {"VERDICT_TIMEOUT": 3, "REPLY_TIMEOUT": 30}


def set_notice(stage: Stage, words: str, **fields: Any) -> Any:
    return stage.send_task("worker68.set_group_notice", group_id=GROUP, notice=words, **fields)


def changes(stage: Stage, words: str) -> int:
    """Return how often the bridge was asked to set this notice."""
    return sum(call["groupParam"].get("notice") == words for call in stage.calls("GroupUpdate"))


def check_done(reply: dict[str, Any]) -> None:
    """The change was made and not announced, as far as is known."""
    assert type(reply["result"]["notice_id"]) is int
    assert reply["result"] == {"notice_id": reply["result"]["notice_id"], "announcement": None}


def test_a_refused_change_is_not_announced(stage: Stage) -> None:
    words = name()

    reply = stage.run("set_group_notice", group_id=PLAIN_GROUP, notice=words)

    assert (reply["status"], reply["result"]) == ("failed", None)
    assert (reply["error"]["code"], reply["error"]["bridge_code"]) == ("refused", 1022)
    assert stage.frames(words) == []


def test_an_announcement_that_is_not_sent(stage: Stage) -> None:
    stage.bridge.faults.verdict = "not_sent"
    words = name()

    reply = stage.end_of(set_notice(stage, words))

    assert (reply["status"], reply["error"]["code"]) == ("failed", "not_sent")
    check_done(reply)
    assert (changes(stage, words), len(stage.frames(words))) == (1, 1)


def test_an_announcement_that_the_bridge_refuses(stage: Stage) -> None:
    words = name()
    stage.bridge.faults.no_echo = True
    stage.hold_replies()
    result = set_notice(stage, words)
    stage.wait(lambda: changes(stage, words))
    stage.bridge.faults.refusals.set(1)  # the change is being answered: this is for the announcement
    stage.bridge.faults.hold_replies = False

    reply = stage.end_of(result)

    assert (reply["status"], reply["error"]["code"], reply["error"]["bridge_code"]) == ("failed", "refused", 403)
    check_done(reply)


def test_an_announcement_without_a_verdict_is_in_doubt_until_one_comes(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, reply_to = name(), name()
    result = set_notice(stage, words, reply_to=reply_to)

    first = stage.take_reply(reply_to)
    assert (first["status"], first["error"]["code"], first["revision"]) == ("in_doubt", "no_verdict", 1)
    check_done(first)

    stage.bridge.faults.clear()
    second = stage.take_reply(reply_to)
    assert (second["status"], second["error"], second["revision"]) == ("succeeded", None, 2)
    assert second["result"]["notice_id"] == first["result"]["notice_id"]
    assert type(second["result"]["announcement"]["message_id"]) is int
    assert second["reply_id"] != first["reply_id"]
    assert (changes(stage, words), len(stage.frames(words))) == (1, 1)
    stage.wait(lambda: stage.end_of(stage.celery.AsyncResult(result.id)) == second)


def test_a_busy_announcement_is_sent_again_under_the_same_name_and_the_change_is_not(stage: Stage) -> None:
    stage.bridge.faults.busy_sends.set(1)
    words = name()

    reply = stage.end_of(set_notice(stage, words))

    assert (reply["status"], reply["attempts"]) == ("succeeded", 3)
    assert changes(stage, words) == 1
    first, second = (frame["data"]["custom_msg_id"] for frame in stage.frames(words))
    assert first == second == reply["result"]["announcement"]["custom_msg_id"]
    assert stage.sent(words) == 1


def test_an_announcement_goes_before_the_other_jobs_of_its_lane(stage: Stage) -> None:
    words = [name() for _ in range(3)]

    replies = [stage.end_of(result) for result in [set_notice(stage, each) for each in words]]

    assert [reply["status"] for reply in replies] == ["succeeded"] * 3
    seen = [
        call["groupParam"]["notice"] if frame["type"] == "request" else frame["data"]["list"][0]["values"]["content"]
        for frame in (one.frame for one in stage.bridge.received)
        for call in [frame.get("data", {}).get("data", {})]
        if frame["type"] == "sendMsg" or "groupParam" in call
    ]
    assert [each for each in seen if each in words] == [each for each in words for _ in range(2)]


class Between:
    """A job whose change is made, and whose announcement waits because the client has lost its server."""

    def __init__(self, stage: Stage, **fields: Any) -> None:
        self.words, self.reply_to = name(), name()
        stage.hold_replies()
        self.result = set_notice(stage, self.words, reply_to=self.reply_to, **fields)
        stage.wait(lambda: changes(stage, self.words))
        stage.bridge.log_out()
        stage.bridge.faults.hold_replies = False
        stage.wait(lambda: (stage.row(self.result.id) or {}).get("step") == 1)
        assert stage.frames(self.words) == []


def test_a_job_that_is_cancelled_between_its_steps(stage: Stage) -> None:
    between = Between(stage)

    stage.celery.control.revoke(between.result.id)

    reply = stage.take_reply(between.reply_to)
    assert (reply["status"], reply["error"]) == ("cancelled", None)
    check_done(reply)
    stage.bridge.log_in()
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.frames(between.words) == []


def test_a_job_that_expires_between_its_steps(stage: Stage) -> None:
    expiry = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=12)
    between = Between(stage, expires_at=expiry.isoformat())

    reply = stage.take_reply(between.reply_to)

    assert reply["status"] == "expired"
    check_done(reply)
    stage.bridge.log_in()
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.frames(between.words) == []


def test_a_chat_put_on_the_do_not_contact_list_between_the_steps(stage: Stage) -> None:
    between = Between(stage)
    with stage.database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO suppressions (account, chat_type, chat_id, reason, created_at) "
                "VALUES ('main', 'group', :id, 'asked', '2026-01-01')"
            ),
            {"id": GROUP},
        )
    try:
        stage.bridge.log_in()
        reply = stage.take_reply(between.reply_to)
    finally:
        with stage.database.begin() as connection:
            connection.execute(text("DELETE FROM suppressions"))

    assert (reply["status"], reply["error"]["code"]) == ("failed", "suppressed")
    check_done(reply)
    assert stage.frames(between.words) == []
