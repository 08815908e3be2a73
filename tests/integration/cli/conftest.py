"""The command line within the tests' own process, with a Redis and a database that are there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.parts.ledger import Ledger
from tests.unit.cli.conftest import Run, run
from worker68.store.migration import upgrade

__all__ = ["Run", "run"]


@pytest.fixture
def ledger(sqlite_url: str) -> Iterator[Ledger]:
    upgrade(sqlite_url)
    ledger = Ledger(sqlite_url)
    yield ledger
    ledger.engine.dispose()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client
