"""Celery's own connection to Redis is cut again and again: jobs that wait go on, and remote control is back afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.conftest import Stage, check_consuming, name
from worker68.simulator.population import FRIEND

#: Twice a second: Celery pauses for a second where it has to connect anew more often than five times in one.
BETWEEN_CUTS_SECONDS = 0.5
CUTS = 4


def celerys_connections(stage: Stage) -> list[str]:
    """Return the ids of the connections by which Celery hears remote control."""
    return [client["id"] for client in stage.redis.client_list() if client["psub"] != "0"]


@contextmanager
def cut_again_and_again(stage: Stage) -> Iterator[list[str]]:
    cut: list[str] = []
    over = threading.Event()

    def cut_all() -> None:
        while not over.wait(BETWEEN_CUTS_SECONDS):
            for client in celerys_connections(stage):
                stage.redis.client_kill_filter(_id=client)
                cut.append(client)

    cutter = threading.Thread(target=cut_all)
    cutter.start()
    try:
        yield cut
    finally:
        over.set()
        cutter.join()


def test_jobs_that_wait_go_on_while_celery_has_no_connection(stage: Stage) -> None:
    mark = name()
    stage.bridge.faults.extra_verdict_delay_seconds = 0.2
    stage.wait(lambda: celerys_connections(stage))

    with cut_again_and_again(stage) as cut:
        results = [stage.send(f"{mark} {number}", chat={"type": "friend", "id": FRIEND}) for number in range(20)]
        assert {stage.end_of(result)["status"] for result in results} == {"succeeded"}
        stage.wait(lambda: len(cut) >= CUTS)

    assert [sent.text for sent in stage.bridge.sent if mark in sent.text] == [f"{mark} {n}" for n in range(20)]
    assert "Connection to broker lost" in stage.worker.log_since_start
    stage.bridge.faults.clear()
    check_consuming(stage, stage.worker)


def test_a_redis_that_takes_no_writes_when_celery_connects_ends_no_worker(stage: Stage) -> None:
    """As a master refuses them that waits for its replica after a failover, or a Redis that is full."""
    stage.redis.config_set("min-replicas-to-write", 1)
    try:
        for client in celerys_connections(stage):
            stage.redis.client_kill_filter(_id=client)
        stage.worker.wait_for_log("consumer: ", "NOREPLICAS")
    finally:
        stage.redis.config_set("min-replicas-to-write", 0)
    check_consuming(stage, stage.worker)
