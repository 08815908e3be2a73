"""A dozen accounts over three workers that come, are stopped or killed, and come again, while jobs go through."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, StageMaker, beside, envelope, make_fleet, name
from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.worker import wait_until

ACCOUNTS = ("main", *(f"account-{number}" for number in range(11)))
#: Each account gets another job this often.
PAUSE_SECONDS = 0.5


def wait_for_spread(stage: Stage, workers: Sequence[ForkedWorker], *counts: int) -> None:
    """Wait until so many accounts are held by each worker, and each bridge is connected."""

    def is_so() -> bool:
        spread = Counter(stage.owners().values())
        connected = all(bridge.connections == 1 for bridge in stage.bridges.values())
        return connected and sorted(spread.values()) == sorted(counts)

    wait_until(is_so, lambda: f"{stage.owners()}: {[worker.last_words[-2000:] for worker in workers]}")


class Producer:
    """Puts numbered jobs into the queue of every account, until it is stopped."""

    def __init__(self, stage: Stage, mark: str) -> None:
        self.stage = stage
        self.mark = mark
        self.produced = 0
        self._stop = threading.Event()

    def run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            for account in ACCOUNTS:
                words = f"{self.mark} {self.produced:04}"
                fields = {"account": account, "chat": GROUP_CHAT, "text": words, "job_id": words}
                self.stage.redis.lpush(f"worker68.{account}", json.dumps(envelope(SEND, fields)))
            self.produced += 1

    def stop(self) -> None:
        self._stop.set()


def wait_for_ends(stage: Stage, producer: Producer) -> None:
    """Wait until everything that has been produced so far has ended."""
    words = f"{producer.mark} {max(0, producer.produced - 1):04}"
    query = "SELECT count(*) AS count FROM jobs WHERE job_id <= :job_id AND state = 'ended'"
    expected = (int(words.split()[-1]) + 1) * len(ACCOUNTS)
    wait_until(lambda: stage.rows(query, words)[0]["count"] == expected, lambda: stage.rows(query, words))


def in_doubt(stage: Stage) -> set[tuple[str, str]]:
    """Return account and id of each job that was ever in doubt."""
    rows = stage.rows("SELECT account, job_id FROM jobs WHERE status = 'in_doubt' OR revision > 1")
    return {(row["account"], row["job_id"]) for row in rows}


def test_accounts_are_spread_over_workers_that_come_and_go_under_load(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    stage, workers = make_fleet(make_stage, nursery, tmp_path, ACCOUNTS[1:], 4, 0.1)
    producer = Producer(stage, name())
    try:
        with beside(producer.run, producer.stop):
            workers[0].start()
            wait_for_spread(stage, workers[:1], 12)
            for worker in workers[1:3]:
                worker.start()
            wait_for_spread(stage, workers[:3], 4, 4, 4)

            workers[0].stop()
            wait_for_spread(stage, workers[1:3], 6, 6)
            workers[0].start()
            wait_for_spread(stage, workers[:3], 4, 4, 4)
            wait_for_ends(stage, producer)
            assert in_doubt(stage) == set(), "neither moves nor an orderly stop put anything in doubt"

            workers[1].kill()
            wait_for_spread(stage, [workers[0], workers[2]], 6, 6)
            wait_for_ends(stage, producer)
            by_the_kill = in_doubt(stage)

            workers[3].start()
            wait_for_spread(stage, [workers[0], workers[2], workers[3]], 4, 4, 4)
            producer.stop()
        wait_for_ends(stage, producer)
    finally:
        for worker in workers:
            worker.kill()

    assert in_doubt(stage) == by_the_kill
    assert stage.rows("SELECT job_id, status FROM jobs WHERE status NOT IN ('succeeded', 'in_doubt')") == []
    expected = [f"{producer.mark} {number:04}" for number in range(producer.produced)]
    for account, bridge in stage.bridges.items():
        sent = [one.text for one in bridge.sent]
        assert [words for words in expected if words in set(sent) or (account, words) not in by_the_kill] == sent
        connections = [one.connection for one in bridge.received if one.frame["type"] == "sendMsg"]
        assert connections == sorted(connections), "an owner writes nothing after its successor"
