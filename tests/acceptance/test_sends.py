"""How sends end: each outcome that the bridge's word can lead to, and how often the message was written for it."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, name
from worker68.simulator.events import Message, verdict
from worker68.simulator.population import FRIEND
from worker68.simulator.queues import BatchForm, ClientKnobs

pytestmark = pytest.mark.parametrize("shared_stage", ["postgresql"], indirect=True, scope="module")

STAGE = {"accounts": {"patient": {"verdict_timeout": "4s"}}}


def test_a_send_succeeds_with_what_the_server_called_it(stage: Stage) -> None:
    words = name()
    reply = stage.end_of(stage.send(words))

    (frame,) = stage.frames(words)
    (sent,) = [message for message in stage.bridge.sent if message.text == words]
    assert reply["status"] == "succeeded"
    assert reply["error"] is None
    assert reply["attempts"] == 1
    assert list(reply["result"]) == ["custom_msg_id", "message_id", "sent_at"]
    assert reply["result"]["custom_msg_id"] == frame["data"]["custom_msg_id"] == sent.custom_msg_id
    assert reply["result"]["message_id"] == sent.message_id
    assert len(sent.custom_msg_id) == 11


def test_the_row_says_what_the_reply_says(stage: Stage) -> None:
    reply = stage.end_of(stage.send(name()))

    row = stage.row(reply["job_id"])
    assert row is not None
    assert (row["task"], row["chat_type"], row["chat_id"]) == (SEND, "group", GROUP_CHAT["id"])
    assert (row["state"], row["status"], row["error_code"], row["attempts"]) == ("ended", "succeeded", None, 1)


def test_a_friend_gets_every_character_that_was_asked_for(stage: Stage) -> None:
    words = f'{name()} "quoted" \t 你好 👨‍👩‍👧 \u2028 </b>\nsecond line\n'

    reply = stage.end_of(stage.send(words, chat={"type": "friend", "id": FRIEND}))

    assert reply["status"] == "succeeded"
    assert [(sent.chat_type, sent.chat_id) for sent in stage.bridge.sent if sent.text == words] == [("friend", FRIEND)]


def test_quote_and_mentions_reach_the_bridge(stage: Stage) -> None:
    words = name()
    quote = {"message_id": 4626337038, "text": "hhh", "user_id": FRIEND, "name": "Pwgen"}

    reply = stage.end_of(stage.send(words, quote=quote, mentions=[FRIEND, 7128348]))

    (frame,) = stage.frames(words)
    assert reply["status"] == "succeeded"
    assert frame["data"]["quoteInfo"]["MsgID"] == 4626337038
    assert frame["data"]["quoteInfo"]["content"] == "hhh"
    assert frame["data"]["list"][0]["values"]["atUids"] == [FRIEND, 7128348]


def test_a_refusal_is_final_and_says_the_bridges_own_code(stage: Stage) -> None:
    stage.bridge.faults.refusals.set(1)
    words = name()

    reply = stage.end_of(stage.send(words))

    assert (reply["status"], reply["error"]["code"]) == ("failed", "refused")
    assert reply["error"]["bridge_code"] == 403
    assert "没有权限" in reply["error"]["message"]
    assert len(stage.frames(words)) == 1
    assert stage.sent(words) == 0


def test_a_chat_that_the_bridge_does_not_know_is_refused(stage: Stage) -> None:
    reply = stage.end_of(stage.send(name(), chat={"type": "group", "id": 999}))

    assert (reply["status"], reply["error"]["code"], reply["error"]["bridge_code"]) == ("failed", "refused", 404)


def test_a_verdict_outweighs_an_error_reply(stage: Stage) -> None:
    stage.bridge.faults.busy_sends.set(1)
    stage.bridge.faults.done_anyway = True
    words = name()

    reply = stage.end_of(stage.send(words))

    assert (reply["status"], reply["attempts"]) == ("succeeded", 1)
    assert len(stage.frames(words)) == 1


def test_a_busy_bridge_is_asked_again_under_the_same_id(stage: Stage) -> None:
    stage.bridge.faults.busy_sends.set(1)
    words = name()

    reply = stage.end_of(stage.send(words))

    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)
    frames = stage.frames(words)
    assert len(frames) == 2
    assert len({frame["data"]["custom_msg_id"] for frame in frames}) == 1
    assert stage.sent(words) == 1


def test_a_quick_not_sent_is_a_failure(stage: Stage) -> None:
    stage.bridge.faults.verdict = "not_sent"
    words = name()

    reply = stage.end_of(stage.send(words))

    assert (reply["status"], reply["error"]["code"], reply["attempts"]) == ("failed", "not_sent", 1)
    assert len(stage.frames(words)) == 1


def test_a_friends_refusal_is_a_refusal_until_the_message_turns_out_as_sent(stage: Stage) -> None:
    stage.bridge.faults.verdict = "swallowed"
    words, reply_to = name(), name()
    result = stage.send(words, chat={"type": "friend", "id": FRIEND}, reply_to=reply_to)
    stage.wait(lambda: stage.frames(words))
    refusal = {
        "chatType": 52,
        "errorType": 5113,
        "errMsg": "不是好友",
        "targetId": FRIEND,
        "id": FRIEND,
        "type": "friend",
    }
    stage.bridge.emit({"operator": "msgNew", "operatorType": "notification", "data": refusal})

    reply = stage.end_of(result)
    assert (reply["status"], reply["error"]["code"], reply["error"]["bridge_code"]) == ("failed", "refused", 5113)
    assert "不是好友" in reply["error"]["message"]

    (frame,) = stage.frames(words)
    own = Message("friend", FRIEND, words, frame["data"]["custom_msg_id"], 4711)
    stage.bridge.emit(verdict(own, 1))
    replies = [stage.take_reply(reply_to) for _ in range(2)]
    assert [(each["status"], each["revision"]) for each in replies] == [("failed", 1), ("succeeded", 2)]
    assert len(stage.frames(words)) == 1


def test_a_muted_groups_not_sent_says_so(stage: Stage) -> None:
    stage.bridge.faults.verdict = "not_sent"
    stage.bridge.faults.refusal = {"errorCode": 1021, "errorDesc": ""}
    stage.bridge.faults.refusals.set(1)
    stage.bridge.faults.done_anyway = True

    reply = stage.end_of(stage.send(name()))

    assert (reply["status"], reply["error"]["code"], reply["error"]["bridge_code"]) == ("failed", "not_sent", 1021)
    assert "muted" in reply["error"]["message"]


def test_silence_is_in_doubt_and_not_sent_again(stage: Stage) -> None:
    stage.bridge.faults.verdict = "swallowed"
    words, next_words = name(), name()

    doubtful, following = stage.send(words), stage.send(next_words)
    stage.wait(lambda: stage.frames(words))
    stage.bridge.faults.clear()

    reply = stage.end_of(doubtful)
    assert (reply["status"], reply["error"]["code"]) == ("in_doubt", "no_verdict")
    assert reply["result"] is None
    assert stage.end_of(following)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_no_answer_at_all_to_a_send_is_in_doubt_and_not_sent_again(stage: Stage) -> None:
    stage.bridge.faults.silence.set("sendMsg", 1)
    words = name()

    reply = stage.end_of(stage.send(words))

    assert (reply["status"], reply["error"]["code"]) == ("in_doubt", "no_verdict")
    assert len(stage.frames(words)) == 1


def test_the_accounts_own_message_proves_that_it_was_sent(stage: Stage) -> None:
    stage.bridge.faults.verdict = "none"

    reply = stage.end_of(stage.send(name()))

    assert reply["status"] == "succeeded"
    assert reply["result"]["message_id"] is not None


@pytest.mark.parametrize("form", ["array", "operator"])
def test_events_that_come_in_one_frame_are_understood(stage: Stage, form: BatchForm) -> None:
    stage.bridge.faults.client = ClientKnobs(batch_seconds=0.1, batch_form=form, pending_echo=True)
    words = [name() for _ in range(3)]

    replies = [stage.end_of(result) for result in [stage.send(each, ordered=False) for each in words]]

    assert [reply["status"] for reply in replies] == ["succeeded"] * 3
    assert [len(stage.frames(each)) for each in words] == [1] * 3


def test_a_doubt_says_that_the_client_had_taken_the_message(stage: Stage) -> None:
    stage.bridge.faults.client = ClientKnobs(pending_echo=True)
    stage.bridge.faults.verdict = "swallowed"

    reply = stage.end_of(stage.send(name()))

    assert (reply["status"], reply["error"]["code"]) == ("in_doubt", "no_verdict")
    assert "the client had taken it" in reply["error"]["message"]
    row = stage.row(reply["job_id"])
    assert row is not None
    assert row["error_message"] == reply["error"]["message"]


@pytest.mark.parametrize("fault", ["no_reply_to_sends", "verdict_before_reply", "echo_first", "no_echo", "garbage"])
def test_a_bridge_of_other_habits_is_understood(stage: Stage, fault: str) -> None:
    setattr(stage.bridge.faults, fault, True)
    words = name()

    reply = stage.end_of(stage.send(words))

    assert reply["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_nothing_is_written_while_the_client_is_logged_out(stage: Stage) -> None:
    words = name()
    stage.bridge.log_out()
    try:
        result = stage.send(words)
        stage.wait(lambda: stage.row(result.id))
        row = stage.row(result.id)
        assert row is not None
        assert row["state"] == "ready"
        assert stage.frames(words) == []
    finally:
        stage.bridge.log_in()

    assert stage.end_of(result)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_a_doubt_says_that_the_client_did_not_show_the_message(stage: Stage) -> None:
    """As long as it is waited for longer than a client takes to show a message of its own."""
    stage.bridges["patient"].faults.verdict = "swallowed"

    reply = stage.end_of(stage.send_task(SEND, "worker68.patient", chat=GROUP_CHAT, text=name()))

    assert (reply["status"], reply["error"]["code"]) == ("in_doubt", "no_verdict")
    assert "the client did not show it within 2 s" in reply["error"]["message"]
    row = stage.row(reply["job_id"], "patient")
    assert row is not None
    assert row["error_message"] == reply["error"]["message"]
