"""Where jobs come in and who goes first: queues, priorities, classes, lanes, and two accounts in one worker."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery.result import AsyncResult
from sqlalchemy import text

from tests.acceptance.conftest import GROUP, GROUP_CHAT, MEMBER, MUTE, SEND, SYNC, Stage, StageMaker, envelope, name
from tests.acceptance.test_late_evidence import tell
from tests.parts.worker import PATIENCE_SECONDS
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND, OWNED_GROUP

STAGE = {"accounts": {"second": {"max_in_flight": 1}, "patient": {"verdict_timeout": "600s"}}}


def texts(bridge: Simulator, mark: str) -> list[str]:
    return [sent.text.removeprefix(f"{mark} ") for sent in bridge.sent if mark in sent.text]


def send_patiently(stage: Stage, words: str, **fields: Any) -> AsyncResult:
    """Ask for a message of the account that waits for a verdict for longer than any test."""
    return stage.send_task(SEND, "worker68.patient", **{"chat": GROUP_CHAT, "text": words, **fields})


def test_front_door_and_account_queue_lead_to_the_same_account(stage: Stage) -> None:
    for queue in ("worker68", "worker68.main"):
        reply = stage.end_of(stage.send_task(SEND, queue, chat=GROUP_CHAT, text=name()))
        assert (reply["status"], reply["account"]) == ("succeeded", "main")


@pytest.mark.parametrize("queue", ["worker68", "worker68.second"])
def test_each_account_writes_to_its_own_bridge(stage: Stage, queue: str) -> None:
    words = name()

    reply = stage.end_of(stage.send_task(SEND, queue, account="second", chat=GROUP_CHAT, text=words))

    assert (reply["status"], reply["account"]) == ("succeeded", "second")
    assert stage.sent(words, stage.bridges["second"]) == 1
    assert stage.frames(words) == []


def test_a_message_that_names_the_exchange_reaches_one_account(stage: Stage) -> None:
    words = name()

    result = stage.celery.send_task(
        SEND, exchange="worker68", routing_key="worker68", kwargs={"chat": GROUP_CHAT, "text": words}
    )

    assert stage.end_of(result)["account"] == "main"
    assert stage.end_of(stage.send_task(SEND, "worker68.second", chat=GROUP_CHAT, text=name()))["status"] == "succeeded"
    assert [stage.sent(words, bridge) for bridge in stage.bridges.values()] == [1, 0, 0]


def test_bindings_that_others_have_spoiled_hold_up_no_job(make_stage: StageMaker) -> None:
    """By a scribble at the front door, by a producer with another separator, by a key of another type."""
    stage = make_stage()
    stage.redis.sadd("_kombu.binding.worker68", "x")
    stage.redis.sadd("_kombu.binding.worker68.main", "worker68.main::worker68.main")
    stage.redis.set("_kombu.binding_permanent.worker68.main", "no set")
    stage.worker.start()
    stage.worker.wait_ready()

    words = name()
    for queue in ("worker68", "worker68.main"):
        stage.push(envelope(SEND, {"chat": GROUP_CHAT, "text": words}), queue)

    stage.wait(lambda: stage.sent(words) == 2)
    assert stage.celery.control.ping(timeout=PATIENCE_SECONDS, limit=1)
    assert stage.worker.log.count("redis_refused") == 1
    assert "Traceback" not in stage.worker.log


def test_an_accounts_queue_needs_no_account(stage: Stage) -> None:
    words = name()

    reply = stage.end_of(stage.send_task(SEND, "worker68.second", chat=GROUP_CHAT, text=words))

    assert reply["account"] == "second"
    assert stage.sent(words, stage.bridges["second"]) == 1


def test_one_job_id_in_two_accounts_is_two_jobs(stage: Stage) -> None:
    words, job_id = name(), name()

    for account in ("main", "second"):
        assert (
            stage.end_of(stage.send(words, queue="worker68", account=account, job_id=job_id))["status"] == "succeeded"
        )

    assert [stage.sent(words, bridge) for bridge in stage.bridges.values()] == [1, 1, 0]


def test_an_account_whose_bridge_is_down_does_not_hold_up_the_other(stage: Stage) -> None:
    stage.bridges["second"].stop()
    waiting = stage.send_task(SEND, "worker68.second", chat=GROUP_CHAT, text=name())

    assert stage.end_of(stage.send(name()))["status"] == "succeeded"

    stage.bridges["second"].start()
    assert stage.end_of(waiting)["status"] == "succeeded"


@pytest.mark.parametrize("queue", ["worker68", "worker68.main"])
@pytest.mark.parametrize("separator", ["\x06\x16", ":"])
def test_every_priority_list_is_read(stage: Stage, queue: str, separator: str) -> None:
    words = name()
    for step in (3, 6, 9):
        stage.push(envelope(SEND, {"chat": GROUP_CHAT, "text": words}), f"{queue}{separator}{step}")

    stage.wait(lambda: stage.sent(words) == 3)


def test_celerys_own_priorities_arrive(stage: Stage) -> None:
    results = [stage.send(name(), options={"priority": priority}) for priority in range(10)]

    assert [stage.end_of(result)["status"] for result in results] == ["succeeded"] * 10
    assert [row["priority"] for result in results if (row := stage.row(result.id))] == list(range(10))


def test_a_chat_gets_its_messages_in_the_order_of_arrival(stage: Stage) -> None:
    mark = name()
    stage.bridge.faults.extra_verdict_delay_seconds = 0.02

    results = [stage.send(f"{mark} {number}") for number in range(30)]

    assert {stage.end_of(result)["status"] for result in results} == {"succeeded"}
    assert texts(stage.bridge, mark) == [str(number) for number in range(30)]


def test_a_busy_answer_does_not_cost_a_job_its_place(stage: Stage) -> None:
    mark = name()
    stage.bridge.faults.busy_sends.set(1)

    results = [stage.send(f"{mark} {number}") for number in range(3)]

    assert {stage.end_of(result)["status"] for result in results} == {"succeeded"}
    assert texts(stage.bridge, mark) == ["0", "1", "2"]


def test_a_silent_chat_does_not_hold_up_another(stage: Stage) -> None:
    slow_words, bridge = name(), stage.bridges["patient"]
    bridge.faults.silence.set("sendMsg", 1)
    slow = send_patiently(stage, slow_words)
    stage.wait(lambda: stage.frames(slow_words, bridge))

    quick = send_patiently(stage, name(), chat={"type": "friend", "id": FRIEND})

    assert stage.end_of(quick)["status"] == "succeeded"
    assert not slow.ready()
    tell(stage, slow_words, 1, bridge)
    assert stage.end_of(slow)["status"] == "succeeded"


def test_moderation_goes_before_sends_before_syncs(stage: Stage) -> None:
    mark, bridge = name(), stage.bridges["second"]
    bridge.stop()
    queue = "worker68.second"
    results = [
        stage.send_task(SYNC, queue, options={"priority": 0}),
        stage.send_task(SEND, queue, chat=GROUP_CHAT, text=f"{mark} low", options={"priority": 9}),
        stage.send_task(SEND, queue, chat={"type": "friend", "id": FRIEND}, text=f"{mark} high"),
        stage.send_task(MUTE, queue, group_id=GROUP, user_id=MEMBER, seconds=77, options={"priority": 9}),
    ]
    stage.wait(lambda: all(stage.row(result.id, "second") for result in results))
    before = len(bridge.received)

    bridge.start()

    assert [stage.end_of(result)["status"] for result in results] == ["succeeded"] * 4
    frames = [received.frame for received in bridge.received.copy()[before:]]
    kinds = [frame["type"] for frame in frames if frame["type"] != "getApiUrl"]
    assert kinds == ["request", "sendMsg", "sendMsg", "getGroups"]
    assert texts(bridge, mark) == ["high", "low"]


def test_priority_goes_before_arrival_within_a_chat(stage: Stage) -> None:
    mark, bridge = name(), stage.bridges["second"]
    bridge.stop()
    results = [
        stage.send_task(SEND, "worker68.second", chat=GROUP_CHAT, text=f"{mark} {p}", options={"priority": p})
        for p in (9, 3, 6, 0)
    ]
    stage.wait(lambda: all(stage.row(result.id, "second") for result in results))

    bridge.start()

    assert [stage.end_of(result)["status"] for result in results] == ["succeeded"] * 4
    assert texts(bridge, mark) == ["0", "3", "6", "9"]


def test_unordered_jobs_need_not_wait_for_each_other(stage: Stage) -> None:
    slow_words, bridge = name(), stage.bridges["patient"]
    # The bridge has then given back an id, so two sends to one chat may be under way.
    assert stage.end_of(send_patiently(stage, name()))["status"] == "succeeded"
    bridge.faults.silence.set("sendMsg", 1)
    chat = {"type": "group", "id": OWNED_GROUP}
    slow = send_patiently(stage, slow_words, chat=chat, ordered=False)
    stage.wait(lambda: stage.frames(slow_words, bridge))

    quick = send_patiently(stage, name(), chat=chat, ordered=False)

    assert stage.end_of(quick)["status"] == "succeeded"
    assert not slow.ready()
    tell(stage, slow_words, 1, bridge)
    assert stage.end_of(slow)["status"] == "succeeded"


def test_what_breaks_in_one_account_is_that_accounts_alone(stage: Stage) -> None:
    words = name()
    broken = stage.send_task(SEND, "worker68.second", chat=GROUP_CHAT, text=words, send_at=time.time() + 12)
    stage.wait(lambda: stage.row(broken.id, "second"))
    with stage.database.begin() as connection:
        row = {"id": broken.id, "broken": "no time"}
        received_at = connection.scalar(text("SELECT received_at FROM jobs WHERE job_id = :id"), row)
        connection.execute(text("UPDATE jobs SET received_at = :broken WHERE job_id = :id"), row)
    stage.worker.wait(lambda: "account_failed" in stage.worker.log_since_start)

    for _ in range(3):
        assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.frames(words) == []

    with stage.database.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET received_at = :received_at WHERE job_id = :id"), row | {"received_at": received_at}
        )
    assert stage.end_of(broken)["status"] == "succeeded"
    assert stage.sent(words, stage.bridges["second"]) == 1
