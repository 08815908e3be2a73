"""A client that is not ours, and the means to wait for a descriptor."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.broker.places import own
from worker68.broker.place import Place
from worker68.broker.source import Source


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A foreign client: a producer, or an operator."""
    with redis.Redis.from_url(redis_url, protocol=2, socket_timeout=60, retry=Retry(NoBackoff(), 0)) as client:
        yield client


@pytest.fixture(scope="session")
def readable() -> Callable[[int, float], bool]:
    """Wait until a descriptor is readable or the seconds are over; return whether it is."""

    def wait(descriptor: int, seconds: float) -> bool:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    return wait


@pytest.fixture
def source(redis_url: str, client: redis.Redis) -> Iterator[Source]:
    source = Source(redis_url)
    yield source
    source.close()


@pytest.fixture
def main(client: redis.Redis) -> Place:
    """The place of the account ``main``, owned."""
    return own(client, "main", fence=1)
