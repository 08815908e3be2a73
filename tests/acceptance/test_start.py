"""A worker starts before what it needs: it says what is missing, waits, and goes on when that comes."""

from __future__ import annotations

import threading

import pytest

from tests.acceptance.conftest import StageMaker, name
from tests.parts.postgres import PostgresServer
from worker68.store.migration import upgrade


def test_redis_comes_later(make_stage: StageMaker) -> None:
    stage = make_stage()
    stage.redis_server.kill()
    stage.worker.start()
    stage.worker.wait_for_log("leases_wait_for_redis")
    stage.worker.wait_for_log("Cannot connect to")

    stage.redis_server.restart()
    stage.worker.wait_ready()

    assert stage.end_of(stage.send(name()))["status"] == "succeeded"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_tables_come_later_and_nothing_is_popped_before(make_stage: StageMaker, database: str) -> None:
    stage = make_stage(database, tables=False)
    result = stage.send(name())
    stage.worker.start()

    stage.worker.wait_for_log("database_away", "worker68 db upgrade")
    stage.worker.wait_ready()
    # Each second at least one of its threads looks, and its health is looked at more often.
    threading.Event().wait(3)
    assert stage.worker.log.count('"database_away"') == 1
    assert "exception" not in stage.worker.log
    assert "worker_healthy" not in stage.worker.log

    assert stage.redis.llen("worker68.main") == 1
    assert stage.redis.hlen("worker68:unacked:main") == 0
    upgrade(stage.database_url)
    assert stage.end_of(result)["status"] == "succeeded"
    stage.worker.wait_for_log("database_back")
    stage.worker.wait_for_log("worker_healthy")


def test_postgresql_comes_later_and_nothing_is_popped_before(
    make_stage: StageMaker, postgres_server: PostgresServer
) -> None:
    stage = make_stage("postgresql")
    result = stage.send(name())
    postgres_server.kill()
    stage.worker.start()

    stage.worker.wait_for_log("database_away")
    stage.worker.wait_ready()

    assert stage.redis.llen("worker68.main") == 1
    assert stage.redis.hlen("worker68:unacked:main") == 0
    assert len(stage.bridge.sent) == 0
    postgres_server.restart()
    assert stage.end_of(result)["status"] == "succeeded"


def test_the_bridge_comes_later_and_jobs_wait_in_the_database(make_stage: StageMaker) -> None:
    stage = make_stage()
    stage.bridge.stop()
    stage.worker.start()
    stage.worker.wait_ready()
    words = name()

    result = stage.send(words)

    row = stage.wait(lambda: stage.row(result.id))
    assert (row["state"], row["attempts"]) == ("ready", 0)
    assert stage.redis.llen("worker68.main") == 0
    stage.bridge.start()
    assert stage.end_of(result)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_a_bridge_that_is_not_there_is_said_in_the_log(make_stage: StageMaker) -> None:
    stage = make_stage()
    stage.bridge.stop()
    stage.worker.start()
    stage.worker.wait_ready()
    stage.worker.wait_for_log("lease_gained", "account:main")

    stage.worker.wait_for_log("bridge", "not reachable")


def test_postgresql_goes_away_in_between(make_stage: StageMaker, postgres_server: PostgresServer) -> None:
    stage = make_stage("postgresql")
    stage.worker.start()
    stage.worker.wait_ready()
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    words = name()

    postgres_server.kill()
    stage.worker.wait_for_log("database_away")
    result = stage.send(words)
    stage.wait(lambda: stage.redis.llen("worker68.main") == 1)
    assert stage.frames(words) == []
    postgres_server.restart()

    assert stage.end_of(result)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_postgresql_goes_away_in_mid_send_and_the_verdict_still_counts(
    make_stage: StageMaker, postgres_server: PostgresServer
) -> None:
    stage = make_stage("postgresql", VERDICT_TIMEOUT=30)
    stage.bridge.faults.hold_verdicts = True
    stage.worker.start()
    stage.worker.wait_ready()
    words = name()
    result = stage.send(words)
    stage.wait(lambda: stage.frames(words))

    postgres_server.kill()
    stage.bridge.faults.clear()
    stage.wait(lambda: stage.redis.hlen("worker68:kept:main") == 1)
    postgres_server.restart()

    assert stage.end_of(result)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_redis_goes_away_in_mid_send_and_the_reply_comes_when_it_is_back(make_stage: StageMaker) -> None:
    stage = make_stage(VERDICT_TIMEOUT=30)
    stage.bridge.faults.hold_verdicts = True
    stage.worker.start()
    stage.worker.wait_ready()
    words, reply_to = name(), name()
    stage.send(words, reply_to=reply_to, job_id=words)
    stage.wait(lambda: stage.frames(words))

    stage.redis_server.kill()
    stage.bridge.faults.clear()
    row = stage.wait(lambda: (found := stage.row(words)) and found["status"] and found)
    assert row["status"] == "succeeded"
    stage.redis_server.restart()

    assert stage.take_reply(reply_to)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1
    stage.send(name(), reply_to=reply_to)
    assert stage.take_reply(reply_to)["status"] == "succeeded"
