"""Order in each chat, whatever happens: busy answers, lost connections, and a worker that dies in the middle."""

from __future__ import annotations

import json

from tests.acceptance.conftest import Stage, envelope, name
from tests.parts.worker import WorkerProcess, wait_until
from worker68.simulator.population import build_world
from worker68.simulator.world import World

CHATS, JOBS = 20, 50

STAGE = {
    # Not off: what has no limit slows down from 60/m after a busy answer.
    "LIMITS": json.dumps(dict.fromkeys(("account", "chat", "send"), "1000/s+1000")),
    "LEASE_TTL": 6,
    "MAX_IN_FLIGHT": 40,
    "VERDICT_TIMEOUT": 1,
}


def chats_of(world: World) -> list[dict[str, object]]:
    return [{"type": "friend", "id": user_id} for user_id in sorted(world.contacts)[:CHATS]]


def test_the_order_in_each_chat_is_the_order_of_arrival(stage: Stage) -> None:
    mark, replies = name(), name()
    chats = chats_of(build_world())
    messages = [
        json.dumps(
            envelope(
                "worker68.send_message", {"chat": chat, "text": f"{mark} {place} {number:02}", "reply_to": replies}
            )
        )
        for number in range(JOBS)
        for place, chat in enumerate(chats)
    ]
    standby = stage.second_worker()
    standby.start()
    standby.wait_ready()
    stage.redis.lpush("worker68.main", *messages)

    stage.wait_for_sent(mark, CHATS * JOBS // 10)
    # Few: three moments open a pause, and each that a probe meets then doubles it.
    stage.bridge.faults.busy_sends.set(5)
    stage.wait_for_sent(mark, CHATS * JOBS * 3 // 10)
    stage.bridge.drop_connections()
    stage.wait_for_sent(mark, CHATS * JOBS // 2)
    stage.worker.kill()

    ended = [json.loads(taken)["status"] for taken in take_replies(stage, standby, replies)]
    assert len(ended) == CHATS * JOBS
    assert set(ended) <= {"succeeded", "in_doubt"}
    for place in range(CHATS):
        texts = [sent.text for sent in stage.bridge.sent if sent.text.startswith(f"{mark} {place} ")]
        assert texts == sorted(texts), "in the order of arrival"
        assert len(texts) == len(set(texts)), "none twice"


def take_replies(stage: Stage, worker: WorkerProcess, replies: str) -> list[str]:
    """Return the first reply of each job; a later revision of one is not another job."""
    found: dict[str, str] = {}

    def all_there() -> bool:
        for raw in map(str, stage.redis.lpop(f"worker68:replies:{replies}", 1000) or ()):
            found.setdefault(json.loads(raw)["job_id"], raw)
        return len(found) == CHATS * JOBS

    wait_until(all_there, lambda: f"{len(found)} replies; {worker.last_words}", seconds=200)
    return list(found.values())
