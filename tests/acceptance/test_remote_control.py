"""Celery's own tools at a worker: control, inspect, events. Each command does what it says, or refuses and says what to use.

No message text shows in any of them, nor in the log.
"""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from celery.events.state import State
from celery.result import AsyncResult
from celery.worker.control import Panel

from tests.acceptance.conftest import GROUP, GROUP_CHAT, SEND, Stage, envelope, name
from tests.parts.events import hear_events
from tests.parts.remote_control import control, inspect
from worker68.celery_worker.control import REFUSED
from worker68.tasks import TASKS

#: The first account waits for a verdict for longer than any test holds it, the second one for as long as a test waits in vain.
STAGE = {"LOG_LEVEL": "debug", "VERDICT_TIMEOUT": 60, "accounts": {"second": {"verdict_timeout": "4s"}}}
QUEUES = {"worker68", "worker68.main", "worker68.second"}


def watch_events(stage: Stage, send: Callable[[], AsyncResult]) -> tuple[str, list[dict[str, Any]]]:
    """Switch events on and ask for a job; return its Celery id and all events until its task has ended."""
    control(stage.celery, "enable_events")
    with hear_events(stage.celery, stage.redis) as events:
        task_id: str = send().id
        events.hear_until(lambda: events.types_of(task_id)[-1:] in (["task-succeeded"], ["task-failed"]))
    return task_id, events.seen


def types_of(events: list[dict[str, Any]], task_id: str) -> list[str]:
    return [event["type"] for event in events if event.get("uuid") == task_id]


def test_ping(stage: Stage) -> None:
    assert inspect(stage.celery, "ping") == {"ok": "pong"}


def test_registered_tasks_are_ours(stage: Stage) -> None:
    assert {task for task in inspect(stage.celery, "registered") if task.startswith("worker68.")} == set(TASKS)


def active_queues(stage: Stage) -> list[dict[str, Any]]:
    """Return the queues that the worker lists, as soon as they are all there: it owns its accounts shortly after its start."""
    stage.wait(lambda: len(inspect(stage.celery, "active_queues")) == len(QUEUES))
    queues: list[dict[str, Any]] = inspect(stage.celery, "active_queues")
    return queues


def test_active_queues(stage: Stage) -> None:
    """They are bound as Celery's banner shows them."""
    queues = {(one["name"], one["exchange"]["name"], one["routing_key"]) for one in active_queues(stage)}

    assert queues == {(name, name, name) for name in QUEUES}


def test_stats(stage: Stage) -> None:
    stats = inspect(stage.celery, "stats")

    assert stats["pool"]["max-concurrency"] == 128
    assert stats["broker"]["transport"] == "redis"
    json.dumps(stats)


def shown(job_id: str, chat: dict[str, Any] | None = GROUP_CHAT) -> dict[str, Any]:
    """Return what remote control shows of a job of the account main, in place of its arguments."""
    return {"job_id": job_id, "account": "main", "chat": chat}


def test_active_shows_the_job_but_not_its_text(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, job_id = name("secret"), name()
    result = stage.send(words, job_id=job_id)
    stage.wait(lambda: stage.frames(words))

    (active,) = inspect(stage.celery, "active")
    (queried,) = control(stage.celery, "query_task", ids=[result.id]).values()

    assert (active["id"], active["name"]) == (result.id, SEND)
    assert active["kwargs"] == shown(job_id)
    assert queried[0] == "active"
    assert words not in json.dumps([active, queried])
    assert inspect(stage.celery, "reserved") == []
    stage.bridge.faults.clear()
    assert stage.end_of(result)["status"] == "succeeded"
    stage.wait(lambda: inspect(stage.celery, "active") == [])
    (ended,) = control(stage.celery, "query_task", ids=result.id).values()
    assert (ended[0], ended[1]["status"]) == ("ended", "succeeded")


def test_scheduled_and_revoked_answer_from_the_database(stage: Stage) -> None:
    words, job_id = name("secret"), name()
    later = stage.send(words, job_id=job_id, send_at=4_000_000_000)
    stage.wait(lambda: stage.row(job_id))

    (scheduled,) = inspect(stage.celery, "scheduled")
    (queried,) = control(stage.celery, "query_task", ids=[later.id, "never seen"]).values()

    assert scheduled["eta"] == "2096-10-02T07:06:40+00:00"
    assert (scheduled["request"]["id"], scheduled["request"]["name"]) == (later.id, SEND)
    assert scheduled["request"]["kwargs"] == shown(job_id)
    assert queried[0] == "scheduled"
    assert queried[1]["kwargs"] == shown(job_id)
    assert words not in json.dumps([scheduled, queried])
    later.revoke()
    assert stage.end_of(later)["status"] == "cancelled"
    unseen = name()
    control(stage.celery, "revoke", task_id=[unseen])
    assert {later.id, unseen} <= set(inspect(stage.celery, "revoked"))
    assert inspect(stage.celery, "scheduled") == []


def test_reserved_are_those_that_wait_for_their_turn(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    first, second = name("secret"), name("secret")
    under_way = stage.send(first)
    stage.wait(lambda: stage.frames(first))
    waiting = stage.send(second, job_id=second)
    stage.wait(lambda: stage.row(second))

    (reserved,) = inspect(stage.celery, "reserved")
    (queried,) = control(stage.celery, "query_task", ids=[waiting.id]).values()

    assert (reserved["id"], reserved["kwargs"]) == (waiting.id, shown(second))
    assert queried[0] == "reserved"
    waiting.revoke()
    assert stage.end_of(waiting)["status"] == "cancelled"
    stage.bridge.faults.clear()
    assert stage.end_of(under_way)["status"] == "succeeded"
    stage.wait(lambda: inspect(stage.celery, "active") == [])


def test_too_many_ids_are_refused(stage: Stage) -> None:
    assert "101 ids" in control(stage.celery, "query_task", ids=list(map(str, range(101))))["error"]


#: Each command of this Celery that is not refused, with arguments, and what is right to answer.
ANSWERS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "active": ({}, lambda answer: answer == []),
    "active_queues": ({}, lambda answer: answer and {queue["name"] for queue in answer} <= QUEUES),
    "clock": ({}, lambda answer: answer["clock"] > 0),
    "conf": ({}, lambda answer: answer["task_default_queue"] == "worker68"),
    "disable_events": ({}, lambda answer: answer["ok"] in ("task events disabled", "task events already disabled")),
    "enable_events": ({}, lambda answer: answer["ok"] in ("task events enabled", "task events already enabled")),
    "heartbeat": ({}, lambda answer: answer is None),  # it is an event: Celery answers with nothing
    "hello": ({"from_node": "other@host", "revoked": ["x"]}, lambda answer: answer["clock"] > 0),
    "memdump": ({"samples": 1}, lambda answer: answer is None or isinstance(answer, str)),
    "memsample": ({}, lambda answer: answer is None or isinstance(answer, str)),
    "objgraph": ({}, lambda answer: answer.get("filename") or "objgraph" in answer["error"]),
    "ping": ({}, lambda answer: answer == {"ok": "pong"}),
    "query_task": ({"ids": ["never seen"]}, lambda answer: answer == {}),
    "registered": ({}, lambda answer: {task for task in answer if task.startswith("worker68.")} == set(TASKS)),
    "report": ({}, lambda answer: "software" in answer["ok"]),
    "reserved": ({}, lambda answer: answer == []),
    "revoke": ({"task_id": "never seen"}, lambda answer: "not seen yet" in answer["ok"]),
    "revoked": ({}, lambda answer: "never seen" in answer),
    "scheduled": ({}, lambda answer: answer == []),
    "stats": ({}, lambda answer: answer["pool"]["max-concurrency"] == 128),
}
OTHER_NAMES = {
    "dump_active": "active",
    "dump_conf": "conf",
    "dump_reserved": "reserved",
    "dump_revoked": "revoked",
    "dump_schedule": "scheduled",
    "dump_tasks": "registered",
}
#: Arguments as Celery's ``control`` and Flower send them; of the refused commands none may come to anything.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "add_consumer": {"queue": "elsewhere"},
    "autoscale": {"max": 9, "min": 1},
    "cancel_consumer": {"queue": "worker68.main"},
    "election": {"id": "1", "topic": "x", "action": {}},
    "pool_grow": {"n": 1},
    "pool_restart": {"reload": False},
    "pool_shrink": {"n": 1},
    "rate_limit": {"task_name": SEND, "rate_limit": "1/h"},
    "revoke_by_stamped_headers": {"headers": {"stamp": ["1"]}, "terminate": True},
    "terminate": {"task_id": "x", "signal": "SIGKILL"},
    "time_limit": {"task_name": SEND, "soft": 1, "hard": 1},
}


def test_every_command_is_known_here() -> None:
    """One that is new in Celery must be looked at: does it do what it says? ``shutdown`` has a test of its own below."""
    assert set(Panel.data) == {*ANSWERS, *OTHER_NAMES, *REFUSED, "shutdown"}
    assert {name: Panel.data[name] for name in OTHER_NAMES} == {
        name: Panel.data[meant] for name, meant in OTHER_NAMES.items()
    }


@pytest.mark.parametrize("command", [*ANSWERS, *OTHER_NAMES])
def test_a_command_does_what_it_says(stage: Stage, command: str) -> None:
    arguments, is_right = ANSWERS[OTHER_NAMES.get(command, command)]

    answer = control(stage.celery, command, **arguments)

    assert is_right(answer), answer


@pytest.mark.parametrize("command", REFUSED)
def test_a_command_that_would_do_nothing_is_refused_and_says_what_to_use(stage: Stage, command: str) -> None:
    before = inspect(stage.celery, "stats")["pool"], active_queues(stage)

    answer = control(stage.celery, command, **ARGUMENTS[command])

    assert set(answer) == {"error"}  # of which Flower and Celery make an error, too
    assert f"{command} is refused" in answer["error"]
    assert "`worker68 " in answer["error"]
    assert (inspect(stage.celery, "stats")["pool"], inspect(stage.celery, "active_queues")) == before
    assert stage.worker.log_since_start.count("control_command_refused")


def test_refused_commands_change_nothing_for_a_job(stage: Stage) -> None:
    """Least of all its result: a job that was called revoked to its producer might still be sent."""
    waiting = stage.send(name(), send_at=4_000_000_000)
    stage.wait(lambda: stage.row(waiting.id))
    for command, arguments in ARGUMENTS.items():
        control(stage.celery, command, **arguments | ({"task_id": waiting.id} if command == "terminate" else {}))

    assert waiting.state == "DEFERRED"
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    waiting.revoke(terminate=True)
    assert stage.end_of(waiting)["status"] == "cancelled"


def test_what_is_under_way_is_not_terminated_and_that_is_an_error(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words = name()
    result = stage.send(words)
    stage.wait(lambda: stage.frames(words))

    answer = control(stage.celery, "revoke", task_id=result.id, terminate=True)

    assert "too late" in answer["error"]
    assert "worker68 jobs cancel" in answer["error"]
    stage.bridge.faults.clear()
    assert stage.end_of(result)["status"] == "succeeded"


def test_events_tell_the_way_of_a_job_without_its_text(stage: Stage) -> None:
    stage.end_of(stage.send(name()))  # before the bridge is ready, a job is deferred
    words = name("secret")

    task_id, seen = watch_events(stage, lambda: stage.send(words, metadata={"note": words}))

    assert types_of(seen, task_id) == ["task-received", "task-started", "task-succeeded"]
    assert {event["name"] for event in seen if event.get("uuid") == task_id and "name" in event} == {SEND}
    assert words not in json.dumps(seen, default=str)


@pytest.mark.parametrize("by", ["default", "command"])
def test_task_events_are_off_until_they_are_asked_for(stage: Stage, by: str) -> None:
    if by == "command":
        assert "enabled" in control(stage.celery, "enable_events")["ok"]
        assert control(stage.celery, "disable_events") == {"ok": "task events disabled"}
    else:
        stage.worker.stop()
        stage.worker.start()
        stage.worker.wait_ready()
    with hear_events(stage.celery, stage.redis) as events:
        result = stage.send(name())
        assert stage.end_of(result)["status"] == "succeeded"
        at = len(events.seen)
        events.hear_until(lambda: any(event["type"] == "worker-heartbeat" for event in events.seen[at:]))
    assert events.types_of(result.id) == []


def test_heartbeats_and_stats_count_the_jobs(stage: Stage) -> None:
    stage.end_of(stage.send(name()))

    def is_counted() -> bool:
        # What the command `heartbeat` has the worker send counts nothing, and may come late from the test before.
        beats = [event for event in events.seen if event["type"] == "worker-heartbeat" and "processed" in event]
        return any(0 < beat["processed"] == sum(inspect(stage.celery, "stats")["total"].values()) for beat in beats)

    with hear_events(stage.celery, stage.redis) as events:
        events.hear_until(is_counted)


def test_a_failed_job_is_a_failed_task_without_its_text(stage: Stage) -> None:
    stage.end_of(stage.send(name()))  # the bridge is ready: a job that waits for it is deferred
    stage.bridge.faults.verdict = "not_sent"
    words = name("secret")

    task_id, seen = watch_events(stage, lambda: stage.send(words))

    assert types_of(seen, task_id) == ["task-received", "task-started", "task-failed"]
    assert "not_sent" in json.dumps(seen, default=str)
    assert words not in json.dumps(seen, default=str)


def test_a_job_of_two_steps_is_started_until_its_end(stage: Stage) -> None:
    """What Flower makes of its events: nothing says that the first step, which is done, was a failure to be retried."""
    stage.end_of(stage.send(name()))
    words = name()

    task_id, seen = watch_events(
        stage, lambda: stage.send_task("worker68.set_group_notice", group_id=GROUP, notice=words)
    )

    assert stage.sent(words) == 1
    flower, states = State(), []
    for event in [event for event in seen if event.get("uuid") == task_id]:
        flower.event(event | {"local_received": event["timestamp"]})
        states.append(flower.tasks[task_id].state)
        assert not flower.tasks[task_id].retries
    assert list(dict.fromkeys(states)) == ["RECEIVED", "STARTED", "SUCCESS"]


def test_revoke_answers(stage: Stage) -> None:
    task_id = name()

    answer = control(stage.celery, "revoke", task_id=task_id)

    assert answer == {"ok": f"{task_id}: 1 not seen yet, cancelled if it comes within 30 days"}


def test_message_text_is_in_no_line_of_the_log(stage: Stage) -> None:
    secret = name("secret")
    faults, send = stage.bridges["second"].faults, partial(stage.send, queue="worker68.second")

    stage.end_of(send(secret, quote={"message_id": 1, "text": secret, "user_id": 2, "name": secret}))
    stage.end_of(send(secret, txt=secret))
    stage.end_of(send(secret, chat={"type": "group", "id": 5}))
    stage.end_of(send(secret, chat=secret, metadata=secret))
    stage.end_of(stage.send_task(SEND, options={"args": [secret]}, chat=GROUP_CHAT, text=secret))
    faults.busy_sends.set(1)
    stage.end_of(send(secret))
    faults.verdict = "swallowed"
    assert stage.end_of(send(secret))["status"] == "in_doubt"
    faults.verdict = "not_sent"
    stage.end_of(send(secret))
    stage.push(secret)
    stage.push(envelope(SEND, {"chat": GROUP_CHAT, "text": secret}, task_id="no id\n"))
    stage.push(envelope(f"worker68.{name()}", {"text": secret}))
    stage.wait(lambda: stage.dead(secret) and not stage.redis.llen("worker68.main"))
    assert stage.end_of(send(secret))["status"] == "failed"

    assert secret not in stage.worker.log


def test_an_id_that_no_job_can_have_costs_the_others_nothing(stage: Stage) -> None:
    result = stage.send(name(), send_at="2099-01-01T00:00:00Z")
    stage.wait(lambda: result.id in {entry["request"]["id"] for entry in inspect(stage.celery, "scheduled")})
    strange = [7, None, "\x00", "\ud800", "x" * 300]

    assert list(control(stage.celery, "query_task", ids=[*strange, result.id])) == [result.id]
    told = control(stage.celery, "revoke", task_id=[*strange, result.id])["ok"]
    assert "1 cancelled, 5 not seen yet" in told or "1 cancelled before, 5 not seen yet" in told
    assert stage.end_of(result)["status"] == "cancelled"
    assert "error" in control(stage.celery, "revoke", task_id=[])


def test_shutdown_by_remote_control_ends_the_process_in_order(stage: Stage) -> None:
    before = len(stage.worker.log)
    stage.celery.control.shutdown()

    assert stage.worker.wait_for_end() == 0
    assert "Traceback" not in stage.worker.log[before:]
