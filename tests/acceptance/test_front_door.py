"""The front door: its messages are moved to the queues of their accounts; what belongs to no account is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, StageMaker, envelope, name

FRONT = "worker68"


@pytest.fixture
def stage(make_stage: StageMaker) -> Stage:
    stage = make_stage(accounts={"second": {}}, LEASE_TTL=2)
    stage.redis.set("worker68:lease:account:second", "another worker|1")
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


def send(words: str, **fields: Any) -> dict[str, Any]:
    return envelope(SEND, {"account": "second", "chat": GROUP_CHAT, "text": words, "job_id": words, **fields})


def test_a_message_waits_in_the_queue_of_its_account_for_the_accounts_owner(stage: Stage) -> None:
    words = [name() for _ in range(5)]
    for text in words[:3]:
        stage.push(send(text), FRONT)
    stage.push(b"garbage", FRONT)
    stage.push(send(words[3]), FRONT)
    stage.push(send(words[4], text=5), FRONT)

    stage.wait(lambda: stage.redis.llen("worker68.second") == 5)

    kept = [json.loads(raw)["body"] for raw in stage.redis.lrange("worker68.second", 0, -1)]
    assert [json.loads(body)[1]["job_id"] for body in reversed(kept)] == words
    stage.wait(lambda: stage.dead("garbage"))
    assert stage.redis.exists(FRONT, "worker68:unacked") == 0
    assert stage.rows("SELECT * FROM jobs") == []

    stage.redis.delete("worker68:lease:account:second")

    bridge = stage.bridges["second"]
    stage.wait(lambda: len(bridge.sent) == 4)
    assert [sent.text for sent in bridge.sent] == words[:4]


def test_a_queue_that_is_no_list_costs_only_its_own_messages(stage: Stage) -> None:
    stage.redis.set("worker68.second:6", "no list")
    stuck, after = name(), name()
    stage.push(send(stuck), f"{FRONT}:6")
    stage.push(send(after, account="main"), f"{FRONT}:6")

    stage.wait(lambda: stage.dead(stuck))

    (entry,) = stage.dead(stuck)
    assert "WRONGTYPE" in entry["reason"]
    stage.wait(lambda: stage.sent(after) == 1)
    assert stage.redis.exists(f"{FRONT}:6", "worker68:unacked") == 0
