"""The bridge's connection fails around a write: what is in doubt, what is repeated, what just waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery.result import AsyncResult

from tests.acceptance.conftest import GROUP, GROUP_CHAT, MEMBER, MUTE, SEND, SYNC, Stage, StageMaker, name
from worker68.simulator.events import Message, verdict

#: Longer than it takes to connect again. One account has a shorter time: for it a verdict never comes.
STAGE = {"VERDICT_TIMEOUT": 60, "REPLY_TIMEOUT": 30, "accounts": {"hasty": {"verdict_timeout": "4s"}}}


def reconnect(stage: Stage) -> None:
    """Cut the worker's connection and wait for its next one."""
    stage.bridge.faults.refuse_connections = True
    stage.bridge.drop_connections()
    stage.wait(lambda: stage.bridge.connections == 0)
    stage.bridge.faults.refuse_connections = False
    stage.wait(lambda: stage.bridge.connections == 1)


def test_a_send_whose_connection_drops_and_whose_verdict_never_comes_is_in_doubt(stage: Stage) -> None:
    bridge = stage.bridges["hasty"]

    def send(words: str) -> dict[str, Any]:
        return stage.end_of(stage.send_task(SEND, "worker68.hasty", chat=GROUP_CHAT, text=words))

    send(name())  # the bridge is ready: what a worker asks of it at first would meet the fault
    bridge.faults.drop_before_answer.set(1)
    words = name()

    reply = send(words)

    assert (reply["status"], reply["error"]["code"]) == ("in_doubt", "connection_lost")
    assert len(stage.frames(words, bridge)) == 1


def times_ready(stage: Stage) -> int:
    """Return how often the bridge of the account main has become ready."""
    return sum('"bridge_ready"' in line and '"account": "main"' in line for line in stage.worker.log.splitlines())


def end_over_the_next_connection(stage: Stage, words: str) -> dict[str, Any]:
    """Send, and let the verdict come once the worker has lost its connection and has the next one."""
    ready = times_ready(stage)
    stage.bridge.faults.hold_verdicts = True
    result = stage.send(words)
    stage.wait(lambda: times_ready(stage) > ready)
    stage.bridge.faults.hold_verdicts = False
    return stage.end_of(result)


def test_a_verdict_on_the_next_connection_counts(stage: Stage) -> None:
    stage.bridge.faults.drop_before_answer.set(1)
    stage.bridge.faults.done_anyway = True
    words = name()

    reply = end_over_the_next_connection(stage, words)

    assert (reply["status"], reply["attempts"]) == ("succeeded", 1)
    assert len(stage.frames(words)) == 1


def test_a_drop_after_the_reply_costs_nothing_when_the_verdict_comes(stage: Stage) -> None:
    stage.bridge.faults.drop_after_answer.set(1)
    words = name()

    reply = end_over_the_next_connection(stage, words)

    assert reply["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_after_a_drop_with_sends_under_way_they_go_one_at_a_time_until_one_is_proved(make_stage: StageMaker) -> None:
    """A bridge that drops each connection soon costs one message each time, not as many as may be under way."""
    # A send whose verdict is given up would make room for the next.
    stage = make_stage(VERDICT_TIMEOUT=60)
    stage.worker.start()
    stage.worker.wait_ready()
    stage.end_of(stage.send(name()))
    stage.bridge.faults.verdict = "swallowed"
    mark = name()

    def send(numbers: Iterable[int]) -> list[AsyncResult[Any]]:
        return [stage.send(f"{mark} {number}", ordered=False) for number in numbers]

    def arrived() -> int:
        return sum(len(stage.frames(f"{mark} {number}")) for number in range(6))

    send(range(2))
    stage.wait(lambda: arrived() == 2)
    reconnect(stage)
    late = send(range(2, 6))
    stage.wait(lambda: arrived() == 3)
    reconnect(stage)
    stage.end_of(stage.send_task(SYNC))
    assert arrived() == 3, "the one since the drop has no verdict yet, and reads are not held up"

    stage.bridge.faults.verdict = "sent"
    (frame,) = [frame for number in range(2, 6) for frame in stage.frames(f"{mark} {number}")]
    data = frame["data"]
    stage.bridge.emit(
        verdict(Message(data["type"], data["id"], mark, data["custom_msg_id"], message_id=4_700_000_001), 1)
    )

    assert [stage.end_of(result)["status"] for result in late] == ["succeeded"] * 4
    assert arrived() == 6


def test_a_change_whose_connection_drops_is_made_again(stage: Stage) -> None:
    stage.bridge.faults.drop_before_answer.set(1)

    reply = stage.end_of(stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=601))

    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)
    assert len(stage.mutes(601)) == 2


def test_a_read_whose_connection_drops_is_made_again(stage: Stage) -> None:
    stage.bridge.faults.drop_before_answer.set(1)

    reply = stage.end_of(stage.send_task(SYNC))

    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)


def test_jobs_wait_for_a_bridge_that_is_not_there_and_go_out_in_order(stage: Stage) -> None:
    mark = name()
    stage.bridge.stop()
    results = [stage.send(f"{mark} {number}") for number in range(5)]
    stage.wait(lambda: stage.redis.llen("worker68.main") == 0)
    stage.wait(lambda: all(stage.row(result.id) for result in results))
    rows = [stage.row(result.id) for result in results]
    assert [row["state"] for row in rows if row] == ["ready"] * 5

    stage.bridge.start()

    assert [stage.end_of(result)["status"] for result in results] == ["succeeded"] * 5
    assert [sent.text for sent in stage.bridge.sent if mark in sent.text] == [f"{mark} {number}" for number in range(5)]


def test_jobs_wait_visibly_while_the_client_is_logged_out_and_none_fails(stage: Stage) -> None:
    mark = name()
    stage.bridge.log_out()
    sends = [stage.send(f"{mark} {number}") for number in range(5)]
    others = [stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=77), stage.send_task(SYNC)]
    results = [*sends, *others]

    def reasons() -> list[str]:
        rows = [stage.row(result.id) for result in (sends[0], *others)]
        return [row["reason"] or "" for row in rows if row]

    stage.wait(lambda: [("logged out" in reason) for reason in reasons()] == [True] * 3)
    assert stage.frames(f"{mark} 0") == []

    stage.bridge.log_in()

    assert [stage.end_of(result)["status"] for result in results] == ["succeeded"] * 7
    assert [sent.text for sent in stage.bridge.sent if mark in sent.text] == [f"{mark} {number}" for number in range(5)]


def test_nothing_is_written_before_hello(stage: Stage) -> None:
    words = name()
    stage.bridge.faults.no_hello = True
    before = len(stage.bridge.received)
    reconnect(stage)
    result = stage.send(words)
    stage.wait(lambda: stage.row(result.id))
    assert len(stage.bridge.received) == before

    stage.bridge.faults.clear()
    stage.bridge.drop_connections()

    assert stage.end_of(result)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_there_is_one_connection_however_often_it_drops(stage: Stage) -> None:
    for _ in range(3):
        reconnect(stage)

    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.bridge.connections == 1


def test_a_flood_of_garbage_from_the_bridge_costs_no_job_its_outcome(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words = name()
    result = stage.send(words)
    stage.wait(lambda: stage.frames(words))

    stage.bridge.send_garbage(
        "not_json", "empty", "list", "number", "null", "deep", "huge_number", "invalid_utf8", "binary", "huge"
    )
    stage.bridge.faults.clear()

    assert stage.end_of(result)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1
