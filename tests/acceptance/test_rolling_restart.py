"""An upgrade under load: the database first, then each of three workers is stopped and started anew, one after the other.

The old version does not know one of the tasks that producers ask for already.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.acceptance.conftest import (
    GROUP,
    GROUP_CHAT,
    MEMBER,
    MUTE,
    SEND,
    Stage,
    StageMaker,
    beside,
    envelope,
    make_fleet,
)
from tests.parts.nursery import Nursery
from tests.parts.sabotage import Sabotage
from tests.parts.worker import wait_until
from worker68.simulator import Simulator

ACCOUNTS = ("main", *(f"account-{number}" for number in range(5)))
#: Each account gets a send this often, and with every fifth a mute. They go to one chat, so each waits for the verdict before it.
PAUSE_SECONDS = 0.4
OLD = Sabotage(unknown_task=MUTE)


class Producer:
    """Puts numbered jobs into the queue of every account."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self.sends = self.mutes = 0

    def run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            for account in ACCOUNTS:
                self._push(account, SEND, f"send {self.sends}", {"chat": GROUP_CHAT, "text": str(self.sends)})
                if self.sends % 5 == 0:
                    mute = {"group_id": GROUP, "user_id": MEMBER, "seconds": self.mutes + 1}
                    self._push(account, MUTE, f"mute {self.mutes}", mute)
            self.mutes += self.sends % 5 == 0
            self.sends += 1

    def stop(self) -> None:
        self._stop.set()

    def _push(self, account: str, task: str, job_id: str, fields: dict[str, Any]) -> None:
        message = envelope(task, {"account": account, "job_id": job_id, **fields})
        self._stage.redis.lpush(f"worker68.{account}", json.dumps(message))


def migrate_to_a_newer_version(stage: Stage) -> None:
    with stage.database.begin() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN weight INTEGER NOT NULL DEFAULT 1"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))


def is_spread(stage: Stage) -> bool:
    """Whether each of three workers holds two accounts, and each bridge is connected."""
    held = stage.redis.mget([f"worker68:lease:account:{account}" for account in ACCOUNTS])
    spread = Counter(str(owner).partition("|")[0] for owner in held if owner)
    return sorted(spread.values()) == [2, 2, 2] and all(bridge.connections == 1 for bridge in stage.bridges.values())


def mutes_at(bridge: Simulator) -> list[int]:
    calls = [one.frame["data"] for one in bridge.received if one.frame["type"] == "request"]
    return [call["data"]["shutupTime"] for call in calls if call["type"] == "GroupMemberShutup"]


def test_a_rolling_upgrade_loses_doubles_and_doubts_nothing(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    stage, workers = make_fleet(make_stage, nursery, tmp_path, ACCOUNTS[1:], 3, 0.2)
    producer = Producer(stage)

    def told() -> list[str]:
        return [worker.last_words[-2000:] for worker in workers]

    try:
        for worker in workers:
            worker.start(OLD)
        wait_until(lambda: is_spread(stage), told)
        with beside(producer.run, producer.stop):
            parked = "SELECT account FROM jobs WHERE job_id = 'mute 1' AND lane = 'parked' AND state = 'deferred'"
            wait_until(lambda: len(stage.rows(parked)) == len(ACCOUNTS), told)
            migrate_to_a_newer_version(stage)
            for worker in workers:
                worker.stop()
                worker.start()
                wait_until(lambda: is_spread(stage), told)
        wanted = len(ACCOUNTS) * (producer.sends + producer.mutes)
        ended = "SELECT count(*) AS count FROM jobs WHERE state = 'ended'"
        wait_until(lambda: stage.rows(ended)[0]["count"] == wanted, told)
    finally:
        for worker in workers:
            worker.kill()

    assert stage.rows("SELECT account, job_id, status FROM jobs WHERE status <> 'succeeded' OR revision <> 1") == []
    for bridge in stage.bridges.values():
        assert [one.text for one in bridge.sent] == [str(number) for number in range(producer.sends)]
        assert mutes_at(bridge) == list(range(1, producer.mutes + 1))
