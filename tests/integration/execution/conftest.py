"""The tables on both databases or on SQLite only, a relay over real Redis, and a reader of what it publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.parts.ledger import Ledger, open_ledger
from tests.parts.onloop import running_loop, serve, stop_service
from worker68.execution import relay as relay_module
from worker68.execution.relay import Relay
from worker68.loop import Loop, LoopThread
from worker68.store.writer import Writer


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Ledger]:
    """For tests that are not about the database."""
    with open_ledger(sqlite_url) as ledger:
        yield ledger


@pytest.fixture
def writer(ledger: Ledger) -> Iterator[Writer]:
    writer = Writer(ledger.engine)
    writer.start()
    yield writer
    writer.stop()


@pytest.fixture
def reader(redis_url: str) -> Iterator[Any]:
    """Another system that reads what worker68 publishes. (The client's own types allow for every reply of every mode.)"""
    with Redis.from_url(redis_url, protocol=2, decode_responses=True, retry=Retry(NoBackoff(), 0)) as client:
        yield client


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that goes on while the test has it run a coroutine."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        yield loop


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    """The loop on a thread of its own, on which services run beside the test."""
    with running_loop() as thread:
        yield thread


class OneWorker:
    """Owns ``main`` and the front door; no other worker is there."""

    def owned_accounts(self) -> list[str]:
        return ["main"]

    def others(self) -> list[str] | None:
        return ["main"]


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relays look and try again soon."""
    monkeypatch.setattr(relay_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(relay_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(relay_module, "RETRY_LOOK_SECONDS", 0.05)


@pytest.fixture
def relay(sqlite: Ledger, redis_url: str, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """A running relay, which tries again soon."""
    hurry(monkeypatch)
    client = Redis.from_url(redis_url, protocol=2, socket_timeout=60, retry=Retry(NoBackoff(), 0))
    relay = Relay(sqlite.engine, client, 600, OneWorker(), loop_thread.loop)
    serve(loop_thread, relay)
    yield relay
    stop_service(loop_thread, relay)
    client.close()
