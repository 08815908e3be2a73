"""SIGTERM: what is under way ends with its verdict, what has not begun waits for the next worker, nothing is lost or doubled.

SIGQUIT: what is under way ends without its verdict, and the process ends as Celery's own worker does.
"""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Stage, StageMaker, name
from tests.parts.events import hear_events
from tests.parts.worker import PATIENCE_SECONDS, wait_until
from worker68.simulator.population import FRIEND, OTHER_FRIEND


@pytest.fixture
def stage(make_stage: StageMaker) -> Stage:
    stage = make_stage(VERDICT_TIMEOUT=600)  # longer than any stop waits for a verdict
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


def test_a_send_under_way_ends_with_its_verdict(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, waiting_words, reply_to = name(), name(), name()
    stage.send(words, reply_to=reply_to)
    waiting = stage.send(waiting_words)
    stage.wait(lambda: stage.frames(words) and stage.row(waiting.id))

    stage.worker.ask_to_stop()
    stage.wait_until_stopping()
    stage.bridge.faults.clear()
    assert stage.worker.wait_for_end() == 0

    reply = stage.take_reply(reply_to)
    assert (reply["status"], reply["attempts"]) == ("succeeded", 1)
    assert stage.frames(waiting_words) == []
    row = stage.row(waiting.id)
    assert row is not None
    assert (row["state"], row["attempts"]) == ("ready", 0)
    assert "Traceback" not in stage.worker.log
    wait_until(lambda: stage.bridge.connections == 0)
    assert stage.redis.keys("worker68:lease:*") == []

    stage.worker.start()
    assert stage.end_of(waiting)["status"] == "succeeded"
    assert stage.sent(waiting_words) == 1


def test_events_tell_how_the_last_job_ended(stage: Stage) -> None:
    stage.celery.control.enable_events(reply=True, timeout=PATIENCE_SECONDS, limit=1)
    stage.bridge.faults.hold_verdicts = True
    words = name()
    with hear_events(stage.celery, stage.redis) as events:
        result = stage.send(words)
        stage.wait(lambda: stage.frames(words))
        stage.worker.ask_to_stop()
        stage.wait_until_stopping()
        stage.bridge.faults.clear()
        events.hear_until(lambda: events.types_of(result.id)[-1:] == ["task-succeeded"])
    assert stage.worker.wait_for_end() == 0


def test_a_backlog_is_neither_lost_nor_doubled_by_restarts(stage: Stage) -> None:
    mark = name()
    chats = [{"type": "friend", "id": FRIEND}, {"type": "friend", "id": OTHER_FRIEND}, {"type": "group", "id": 389284}]
    results = [stage.send(f"{mark} {number}", chat=chats[number % 3]) for number in range(60)]

    for at_least in (5, 25):
        stage.wait_for_sent(mark, at_least)
        assert stage.worker.stop() == 0
        stage.worker.start()
        stage.worker.wait_ready()

    assert [stage.end_of(result)["status"] for result in results] == ["succeeded"] * 60
    texts = [sent.text for sent in stage.bridge.sent if mark in sent.text]
    assert sorted(texts) == sorted(f"{mark} {number}" for number in range(60))
    for chat in chats:
        numbers = [int(s.text.split()[-1]) for s in stage.bridge.sent if mark in s.text and s.chat_id == chat["id"]]
        assert numbers == sorted(numbers)


def test_sigterm_while_redis_is_away_ends_too(stage: Stage) -> None:
    stage.end_of(stage.send(name()))
    stage.redis_server.kill()
    stage.wait(lambda: "redis_away" in stage.worker.log_since_start or "RedisAway" in stage.worker.log_since_start)

    stage.worker.ask_to_stop()

    assert stage.worker.wait_for_end() == 0


@pytest.mark.parametrize("sigterm_first", [False, True])
def test_sigquit_ends_in_order_with_jobs_under_way(stage: Stage, sigterm_first: bool) -> None:
    stage.bridge.faults.verdict = "swallowed"
    words = name()
    stage.send(words, job_id=words)
    stage.wait(lambda: stage.frames(words))
    if sigterm_first:
        stage.worker.ask_to_stop()
        stage.worker.wait_for_log("Warm shutdown")

    assert stage.worker.quit() == 0

    row = stage.row(words)
    assert row is not None
    assert (row["status"], row["error_code"]) == ("in_doubt", "connection_lost")
    for words_of_a_fault in ("Unrecoverable", "Traceback", "stop_hurried"):
        assert words_of_a_fault not in stage.worker.log
    assert stage.redis.keys("worker68:lease:*") == []
