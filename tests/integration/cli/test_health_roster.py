"""``worker68 health`` without a file: whether a worker of this host is listed in Redis."""

from __future__ import annotations

import socket
import time

import pytest
from redis import Redis

from worker68.cli import health


@pytest.mark.parametrize(("host", "well"), [("web", 0), ("web-2", 0), ("web-3", 1), ("we", 1)])
def test_a_worker_of_another_host_is_not_that_of_this_one(
    host: str, well: int, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of hosts may begin as others do."""
    with Redis.from_url(redis_url) as client:
        for worker in ("web-0123456789ab", "web-2-0123456789ab"):
            client.zadd("worker68:workers", {worker: time.time()})
    monkeypatch.setenv("WORKER68_REDIS_URL", redis_url)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    monkeypatch.setattr(health, "REDIS_SECONDS", 60.0)
    assert health.main(as_json=False) == well
