"""What passes through memory to Redis: events in their order, and that a job waits; lost only where that is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.execution.conftest import OneWorker
from tests.parts.ledger import Ledger
from tests.parts.metrics import counted
from tests.parts.worker import wait_until
from worker68.embedded import EmbeddedRedis
from worker68.execution import passing
from worker68.execution.relay import Relay
from worker68.loop import Loop


def test_deferred_says_that_it_waits(relay: Relay, reader: Any) -> None:
    relay.defer([("t", 0.0)])
    stored = json.loads(wait_until(lambda: reader.get("celery-task-meta-t")))
    assert (stored["status"], stored["task_id"]) == ("DEFERRED", "t")
    assert 0 < reader.ttl("celery-task-meta-t") <= 600


def test_deferred_lasts_until_the_job_is_due_and_after(relay: Relay, reader: Any) -> None:
    relay.defer([("later", 86_400.5), ("overdue", -5.0)])
    wait_until(lambda: reader.exists("celery-task-meta-later", "celery-task-meta-overdue") == 2)
    assert 86_401 < reader.ttl("celery-task-meta-later") <= 87_001
    assert 0 < reader.ttl("celery-task-meta-overdue") <= 600


def test_events_go_on_the_accounts_stream_in_order(relay: Relay, reader: Any) -> None:
    for number in range(1200):
        relay.publish_event("main", b'{"n": %d}' % number)
    relay.publish_event("other", b"\xff not text")
    wait_until(lambda: reader.xlen("worker68:events:main") == 1200)
    seen = [json.loads(fields["event"])["n"] for _, fields in reader.xrange("worker68:events:main")]
    assert seen == list(range(1200))
    wait_until(lambda: reader.xlen("worker68:events:other") == 1)
    assert 0 < reader.ttl("worker68:events:main") <= 600


def test_the_stream_of_events_is_bounded(relay: Relay, reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "STREAM_LENGTH", 200)
    for number in range(2000):
        relay.publish_event("main", b"%d" % number)
    wait_until(lambda: [fields["event"] for _, fields in reader.xrevrange("worker68:events:main", count=1)] == ["1999"])
    assert reader.xlen("worker68:events:main") <= 400, "Redis trims whole nodes of a hundred entries"


def test_events_that_find_no_room_are_dropped_oldest_first_and_counted(
    relay: Relay, redis_server: EmbeddedRedis, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing, "EVENTS_LIMIT", 600)
    redis_server.kill()
    for number in range(5000):
        relay.publish_event("main", b"%d" % number)
    redis_server.restart()
    wait_until(lambda: [one["event"] for _, one in reader.xrevrange("worker68:events:main", count=1)] == ["4999"])
    seen = [int(fields["event"]) for _, fields in reader.xrange("worker68:events:main")]
    assert set(seen[-600:]) == set(range(4400, 5000))
    assert len(set(seen)) + counted(relay.passing.events_dropped) == 5000


def test_an_event_waits_for_a_redis_that_is_full(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    reader.config_set("maxmemory", 1)
    try:
        relay.publish_event("main", b"{}")
        relay.defer([("waiting", 0.0)])
        wait_until(lambda: reader.info("commandstats").get("cmdstat_xadd", {}).get("rejected_calls", 0) > 1)
    finally:
        reader.config_set("maxmemory", 0)
    wait_until(lambda: reader.xlen("worker68:events:main") == 1)
    wait_until(lambda: reader.get("celery-task-meta-waiting"))
    assert counted(relay.passing.events_dropped) == 0


@pytest.fixture
def stopping(sqlite: Ledger, redis_url: str, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """A relay that has only its last pass before it, with many batches of events."""
    monkeypatch.setattr(passing, "EVENTS_BATCH", 5)
    with Redis.from_url(redis_url, protocol=2, retry=Retry(NoBackoff(), 0)) as client:
        relay = Relay(sqlite.engine, client, 600, OneWorker(), loop)
        for number in range(42):
            relay.publish_event("main", b"%d" % number)
        relay.stop()
        yield relay


def test_all_events_are_passed_on_before_the_relay_stops(stopping: Relay, loop: Loop, reader: Any) -> None:
    loop.run_until_complete(stopping.run())
    assert reader.xlen("worker68:events:main") == 42
    assert counted(stopping.passing.events_dropped) == 0


def test_events_that_redis_does_not_take_before_the_stop_are_counted_and_logged(
    stopping: Relay, loop: Loop, redis_server: EmbeddedRedis
) -> None:
    redis_server.kill()
    with structlog.testing.capture_logs() as logs:
        loop.run_until_complete(stopping.run())
    assert counted(stopping.passing.events_dropped) == 42
    assert [line["count"] for line in logs if line["event"] == "events_dropped"] == [42]
