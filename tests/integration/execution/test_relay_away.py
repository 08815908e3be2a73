"""Redis or the database goes away and comes back: everything is published at least once, and nothing is forgotten before."""

from __future__ import annotations

import json
from typing import Any

from tests.parts.jobs import message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.worker import wait_until
from worker68.embedded import EmbeddedRedis
from worker68.errors import DatabaseAway
from worker68.execution import relay as relay_module
from worker68.execution.relay import Relay
from worker68.store.tables import outbox

ORDERS = "worker68:replies:orders"


def test_replies_results_and_events_outlive_a_redis_that_was_down(
    relay: Relay, sqlite: Ledger, redis_server: EmbeddedRedis, reader: Any
) -> None:
    relay.publish_event("main", b"before")
    wait_until(lambda: reader.xlen("worker68:events:main") == 1)
    redis_server.kill()
    sqlite.suppress("group", 389284)
    asked = [f"job-{number}" for number in range(50)]
    sqlite.arrive(*[message(kwargs=send_fields(job_id=key, reply_to="orders"), task_id=key) for key in asked])
    for number in range(20):
        relay.publish_event("main", b"%d" % number)
    relay.defer([("waiting", 0.0)])
    assert sqlite.count(outbox) == 100
    redis_server.restart()
    wait_until(lambda: sqlite.count(outbox) == 0)
    replies = [json.loads(reply) for reply in reader.lrange(ORDERS, 0, -1)]
    # A Redis that still loads its file refuses the first commands of a batch: the whole is sent again, and order is not promised.
    assert {reply["job_id"] for reply in replies} == set(asked)
    assert all(reader.get(f"celery-task-meta-{key}") for key in asked)
    wait_until(lambda: reader.get("celery-task-meta-waiting"))
    wait_until(lambda: reader.xlen("worker68:events:main") >= 21)
    events = [fields["event"] for _, fields in reader.xrange("worker68:events:main")]
    assert set(events) == {"before", *map(str, range(20))}


def test_redis_killed_again_and_again_loses_nothing(
    relay: Relay, sqlite: Ledger, redis_server: EmbeddedRedis, reader: Any
) -> None:
    """The append-only file is flushed every second: what a kill takes from Redis itself is not what is asked here."""
    asked = []
    reader.config_set("appendfsync", "always")
    for number in range(6):
        asked.append(sqlite.settled(reply_to="orders", job_id=f"job-{number}").job_id)
        relay.wake()
        redis_server.kill()
        redis_server.restart()
        reader.config_set("appendfsync", "always")
    wait_until(lambda: sqlite.count(outbox) == 0)
    seen = {json.loads(reply)["job_id"] for reply in reader.lrange(ORDERS, 0, -1)}
    assert seen == set(asked)


def test_a_full_redis_keeps_replies_in_the_outbox(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    reader.config_set("maxmemory", 1)
    try:
        sqlite.settled(reply_to="orders")
        sqlite.settled(reply_to="stream:orders")
        relay.wake()
        wait_until(lambda: reader.info("errorstats").get("errorstat_OOM"))
        assert sqlite.count(outbox) == 4
    finally:
        reader.config_set("maxmemory", 0)
    wait_until(lambda: sqlite.count(outbox) == 0)
    assert reader.llen(ORDERS) == 1
    assert reader.xlen(f"{ORDERS}:stream") == 1


def test_a_database_that_is_away_holds_no_event_up(relay: Relay, sqlite: Ledger, reader: Any, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def away(*_args: object) -> None:
        raise DatabaseAway("gone")

    with monkeypatch.context() as patch:
        patch.setattr(relay_module, "fetch", away)
        sqlite.settled(reply_to="orders")
        relay.publish_event("main", b"{}")
        wait_until(lambda: reader.xlen("worker68:events:main") == 1)
        assert reader.llen(ORDERS) == 0
    wait_until(lambda: sqlite.count(outbox) == 0)
    assert reader.llen(ORDERS) == 1
