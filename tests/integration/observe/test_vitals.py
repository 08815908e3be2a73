"""A whole runtime looks at itself: it is well only while its jobs go on and Redis answers."""

from __future__ import annotations

import threading

import redis

from tests.integration.observe.conftest import Stand
from tests.parts.jobs import message, send_fields
from tests.parts.worker import wait_until
from worker68.embedded import EmbeddedRedis


def test_a_job_needs_no_connection_of_celerys(stand: Stand, redis_server: EmbeddedRedis) -> None:
    stand.runtime.start()
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush("worker68.main", message(kwargs=send_fields()))
        wait_until(lambda: stand.ended() == {("main", "worker68.send_message", "succeeded", ""): 1})


def test_a_worker_whose_jobs_do_not_go_on_is_not_healthy(stand: Stand) -> None:
    stand.runtime.start()
    over = threading.Event()
    try:
        wait_until(stand.health_file.exists, lambda: stand.runtime.vitals.problem)
        stand.parts.loop.loop.tell(lambda: _wait(over))
        wait_until(lambda: (stand.runtime.vitals.problem or "").startswith("the loop has stood still"))
    finally:
        over.set()
    wait_until(lambda: stand.runtime.vitals.problem is None)


def test_a_worker_whose_redis_is_gone_becomes_unhealthy_and_recovers(stand: Stand, redis_server: EmbeddedRedis) -> None:
    stand.runtime.start()
    wait_until(stand.health_file.exists, lambda: stand.runtime.vitals.problem)
    redis_server.kill()
    wait_until(lambda: "redis: RedisAway" in (stand.runtime.vitals.problem or ""))
    redis_server.restart()
    wait_until(lambda: stand.runtime.vitals.problem is None)


def _wait(over: threading.Event) -> None:
    over.wait()
