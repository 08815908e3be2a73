"""A Redis that forgets when it is killed, unlike that of the other tests, and clients that fail at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker68.embedded import EmbeddedRedis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> Iterator[redis.Redis]:
    redis_server.reset()
    with redis.Redis.from_url(redis_server.url, protocol=2, socket_timeout=60, retry=Retry(NoBackoff(), 0)) as client:
        yield client
