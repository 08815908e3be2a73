"""kill -9 at every step of a job's way, on purpose: whatever the step, each job ends once, in order, and nothing goes out twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, MEMBER, MUTE, SEND, SYNC, Stage, StageMaker, end_of, name
from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.sabotage import ALL_POINTS, POINTS, SEARCH_POINTS, SORT_POINTS, Point, Sabotage, find
from worker68.jobs.retry import DEATHS_ALLOWED
from worker68.simulator.population import FRIEND

SETTINGS: dict[str, Any] = {"LEASE_TTL": 1, "VERDICT_TIMEOUT": 10, "REPLY_TIMEOUT": 10, "MAX_IN_FLIGHT": 4}
CHATS: list[dict[str, Any]] = [{"type": "friend", "id": FRIEND}, {"type": "group", "id": GROUP}]


@pytest.fixture
def stage(make_stage: StageMaker, request: pytest.FixtureRequest) -> Stage:
    return make_stage(getattr(request, "param", "sqlite"), **SETTINGS)


@pytest.fixture
def worker(stage: Stage, nursery: Nursery, tmp_path: Path) -> Iterator[ForkedWorker]:
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    yield worker
    worker.kill()


@pytest.mark.parametrize("point", ALL_POINTS.values(), ids=ALL_POINTS)
def test_each_point_is_on_the_way(point: Point) -> None:
    """A worker that cannot even be rigged dies at its start, where nothing can be lost."""
    assert callable(find(point)[2])


@pytest.mark.parametrize("stage", ["sqlite", "postgresql"], indirect=True)
def test_a_death_at_any_step_loses_nothing_and_doubles_nothing(stage: Stage, worker: ForkedWorker) -> None:
    mark, reply_to = name(), name()
    asked: list[str] = []
    for point in POINTS:
        for number in range(6):
            words = f"{mark} {len(asked) + number}"
            stage.send(words, chat=CHATS[number % 2], job_id=words, reply_to=reply_to)
        asked += [f"{mark} {len(asked) + number}" for number in range(6)]
        if point == "between two steps":
            stage.send_task(
                "worker68.mute_group", group_id=GROUP, job_id=f"{mark} mute", announcement_text=f"{mark} mute"
            )
        worker.start(Sabotage(crash_at=point))
        worker.wait_for_end()
    worker.start()

    worker.wait(lambda: not unfinished(stage) and stage.redis.llen("worker68.main") == 0)
    worker.wait(lambda: stage.rows("SELECT id FROM outbox") == [])

    jobs = {row["job_id"]: row for row in stage.rows("SELECT * FROM jobs")}
    assert jobs.keys() == {*asked, f"{mark} mute"}
    doubtful = [job for job in asked if jobs[job]["status"] == "in_doubt"]
    assert {jobs[job]["status"] for job in asked} <= {"succeeded", "in_doubt"}
    assert len(doubtful) <= len(POINTS) * len(CHATS), "a chat has one send under way"
    sent = [message for message in stage.bridge.sent if mark in message.text]
    texts = Counter(message.text for message in sent)
    assert max(texts.values()) == 1
    assert max(Counter(message.custom_msg_id for message in sent).values()) == 1
    assert {job for job in asked if jobs[job]["status"] == "succeeded"} <= texts.keys()
    for chat in CHATS:
        numbers = [int(m.text.split()[-1]) for m in sent if m.chat_id == chat["id"] and not m.text.endswith("mute")]
        assert numbers == sorted(numbers)
    replies = {}
    for _ in range(stage.redis.llen(f"worker68:replies:{reply_to}")):
        reply = stage.take_reply(reply_to)
        replies[reply["reply_id"]] = reply
    assert {reply["job_id"] for reply in replies.values()} == set(asked)
    for job in asked:
        revisions = [reply["revision"] for reply in replies.values() if reply["job_id"] == job]
        assert sorted(revisions) == list(range(1, jobs[job]["revision"] + 1))
    assert jobs[f"{mark} mute"]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("queue", "points"),
    [("worker68.main", list(SEARCH_POINTS)), ("worker68", list(SORT_POINTS))],
    ids=["own queue", "front door"],
)
def test_a_death_while_moderation_is_taken_out_of_a_full_accounts_queue(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path, queue: str, points: list[str]
) -> None:
    stage = make_stage(**SETTINGS, MAX_WAITING=2)
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    deferred = [stage.send(name(), send_at="2999-01-01T00:00:00Z") for _ in range(2)]
    worker.start()
    worker.wait(lambda: all(stage.row(result.id) for result in deferred))
    worker.kill()
    waiting: list[str] = []
    mutes: list[Any] = []
    for number, point in enumerate(points):
        waiting.append(stage.send(name(), chat=CHATS[1]).id)
        mutes.append(stage.send_task(MUTE, queue, group_id=GROUP, user_id=MEMBER, seconds=100 + number))
        waiting.append(stage.send(name(), chat=CHATS[1]).id)
        worker.start(Sabotage(crash_at=point))
        worker.wait_for_end()
    worker.start()

    for result in mutes:
        assert end_of(stage, worker, result)["status"] == "succeeded"
    in_order = stage.rows("SELECT job_id FROM jobs WHERE task = 'worker68.mute_member' ORDER BY seq")
    assert [row["job_id"] for row in in_order] == [result.id for result in mutes]
    in_redis = [json.loads(raw)["headers"]["id"] for raw in stage.redis.lrange("worker68.main", 0, -1)]
    assert in_redis[::-1] == waiting
    worker.kill()


def test_a_job_that_kills_its_worker_each_time_is_set_aside(stage: Stage, worker: ForkedWorker) -> None:
    deadly, after = stage.send_task(SYNC), stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=60)
    for _ in range(DEATHS_ALLOWED):
        worker.start(Sabotage(deadly_task=SYNC))
        worker.wait_for_end()
    worker.start(Sabotage(deadly_task=SYNC))

    reply = end_of(stage, worker, deadly)
    assert (reply["status"], reply["error"]["code"], reply["attempts"]) == ("failed", "internal", DEATHS_ALLOWED)
    assert end_of(stage, worker, after)["status"] == "succeeded"


def test_a_send_that_kills_its_worker_is_in_doubt_the_first_time_and_kills_no_other(
    stage: Stage, worker: ForkedWorker
) -> None:
    deadly, after = stage.send(name()), stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=60)
    worker.start(Sabotage(deadly_task=SEND))
    worker.wait_for_end()
    worker.start(Sabotage(deadly_task=SEND))

    reply = end_of(stage, worker, deadly)
    assert (reply["status"], reply["error"]["code"], reply["attempts"]) == ("in_doubt", "worker_lost", 1)
    assert end_of(stage, worker, after)["status"] == "succeeded"
    assert worker.running


def test_a_task_that_raises_system_exit_ends_as_a_fault_and_hinders_nobody(stage: Stage, worker: ForkedWorker) -> None:
    worker.start(Sabotage(leaving_task=SYNC))
    left, words = stage.send_task(SYNC), name()
    after = stage.send(words)

    assert end_of(stage, worker, left)["error"]["code"] == "internal"
    assert end_of(stage, worker, after)["status"] == "succeeded"
    assert worker.running


def unfinished(stage: Stage) -> list[dict[str, Any]]:
    return stage.rows("SELECT job_id, state FROM jobs WHERE state <> 'ended'")
