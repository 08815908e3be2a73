"""Evidence that comes when nobody waits for it any more: the next revision of the reply, and nothing sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery.result import AsyncResult

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, name
from tests.acceptance.test_remote_control import types_of, watch_events
from worker68.simulator import Simulator
from worker68.simulator.events import Message, verdict

pytestmark = pytest.mark.parametrize("shared_stage", ["postgresql"], indirect=True, scope="module")

#: Short, because so many sends here are left in doubt. What must come before the wait is over goes to an account that waits longer.
STAGE = {"VERDICT_TIMEOUT": 1, "accounts": {"patient": {"verdict_timeout": "4s"}}}


def send_patiently(stage: Stage, words: str, **fields: Any) -> AsyncResult:
    """Ask for a message of the account that waits longer."""
    return stage.send_task(SEND, "worker68.patient", chat=GROUP_CHAT, text=words, **fields)


def leave_in_doubt(stage: Stage, words: str, reply_to: str) -> tuple[Any, dict[str, Any]]:
    """Let a send end in doubt; return Celery's result and the first reply."""
    stage.bridge.faults.verdict = "swallowed"
    result = stage.send(words, reply_to=reply_to)
    reply = stage.take_reply(reply_to)
    assert (reply["status"], reply["error"]["code"], reply["revision"]) == ("in_doubt", "no_verdict", 1)
    stage.bridge.faults.clear()
    return result, reply


def tell(stage: Stage, words: str, read_status: int, bridge: Simulator | None = None) -> None:
    """Let the bridge say what became of the message with these words."""
    bridge = bridge or stage.bridge
    (frame,) = stage.frames(words, bridge)
    data = frame["data"]
    message = Message(data["type"], data["id"], words, data["custom_msg_id"], message_id=4_700_000_000)
    assert bridge.emit(verdict(message, read_status)) == 1


def test_a_late_verdict_ends_the_doubt(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, reply_to = name(), name()
    result = stage.send(words, reply_to=reply_to)

    first = stage.take_reply(reply_to)
    stage.bridge.faults.clear()
    second = stage.take_reply(reply_to)

    assert [first["status"], second["status"]] == ["in_doubt", "succeeded"]
    assert [first["revision"], second["revision"]] == [1, 2]
    assert first["reply_id"] != second["reply_id"]
    assert second["error"] is None
    assert second["result"]["message_id"] is not None
    assert first["received_at"] == second["received_at"]
    assert len(stage.frames(words)) == 1
    stage.wait(lambda: stage.end_of(stage.celery.AsyncResult(result.id)) == second)
    row = stage.row(result.id)
    assert row is not None
    assert (row["status"], row["error_code"], row["revision"]) == ("succeeded", None, 2)


def test_read_is_as_good_as_sent(stage: Stage) -> None:
    words, reply_to = name(), name()
    leave_in_doubt(stage, words, reply_to)

    tell(stage, words, 2)

    assert stage.take_reply(reply_to)["status"] == "succeeded"


def test_a_sent_corrects_a_not_sent(stage: Stage) -> None:
    bridge = stage.bridges["patient"]
    bridge.faults.verdict = "corrected"
    bridge.faults.correction_seconds = 0.3
    words, reply_to = name(), name()
    send_patiently(stage, words, reply_to=reply_to)

    first, second = stage.take_reply(reply_to), stage.take_reply(reply_to)

    assert (first["status"], first["error"]["code"]) == ("failed", "not_sent")
    assert (second["status"], second["revision"]) == ("succeeded", 2)
    assert len(stage.frames(words, bridge)) == 1


def test_a_not_sent_soon_after_the_write_ends_the_doubt_though_its_wait_was_over(stage: Stage) -> None:
    words, reply_to = name(), name()
    leave_in_doubt(stage, words, reply_to)

    tell(stage, words, 0)
    denied = stage.take_reply(reply_to)
    tell(stage, words, 1)
    corrected = stage.take_reply(reply_to)

    assert (denied["status"], denied["error"]["code"], denied["revision"]) == ("failed", "not_sent", 2)
    assert (corrected["status"], corrected["error"], corrected["revision"]) == ("succeeded", None, 3)
    assert len(stage.frames(words)) == 1


def test_a_not_sent_after_a_sent_and_a_second_sent_change_nothing(stage: Stage) -> None:
    words, reply_to = name(), name()
    other_words, other_reply_to = name(), name()
    result, _ = leave_in_doubt(stage, words, reply_to)
    leave_in_doubt(stage, other_words, other_reply_to)

    tell(stage, words, 1)
    tell(stage, words, 1)
    tell(stage, words, 0)
    tell(stage, other_words, 1)

    assert stage.take_reply(reply_to)["status"] == "succeeded"
    assert stage.take_reply(other_reply_to)["status"] == "succeeded"
    row = stage.row(result.id)
    assert row is not None
    assert (row["status"], row["revision"]) == ("succeeded", 2)
    assert stage.redis.llen(f"worker68:replies:{reply_to}") == 0


def test_what_the_bridge_says_of_a_text_is_in_the_reply_and_neither_in_events_nor_in_the_log(stage: Stage) -> None:
    words, reply_to = name("secret"), name()
    assert stage.end_of(send_patiently(stage, name()))["status"] == "succeeded"  # no other request meets the fault
    faults = stage.bridges["patient"].faults
    faults.refusal = {"errorCode": f"E {words}", "errorDesc": f"sensitive word: {words}"}
    faults.refusals.set(1)

    task_id, seen = watch_events(
        stage, lambda: send_patiently(stage, words, metadata={"note": words}, reply_to=reply_to)
    )

    error = stage.take_reply(reply_to)["error"]
    assert error["code"] == "refused"
    assert words in error["message"]
    assert words in error["bridge_code"]
    assert types_of(seen, task_id)[-1] == "task-failed"
    assert "refused" in json.dumps(seen, default=str)
    assert words not in json.dumps(seen, default=str)
    assert words not in stage.worker.log


def test_who_asks_after_the_revision_gets_the_revised_reply(stage: Stage) -> None:
    words, reply_to, later = name(), name(), name()
    result, _ = leave_in_doubt(stage, words, reply_to)
    tell(stage, words, 1)
    revised = stage.take_reply(reply_to)

    stage.send(words, job_id=result.id, reply_to=later)

    assert stage.take_reply(later) | {"task_id": result.id} == revised


def test_a_worker_that_never_saw_the_send_understands_its_verdict(stage: Stage) -> None:
    words, reply_to = name(), name()
    leave_in_doubt(stage, words, reply_to)
    assert stage.worker.stop() == 0
    stage.worker.start()
    stage.worker.wait_ready()
    stage.wait(lambda: stage.bridge.connections == 1)

    tell(stage, words, 1)

    reply = stage.take_reply(reply_to)
    assert (reply["status"], reply["revision"]) == ("succeeded", 2)
    assert len(stage.frames(words)) == 1
