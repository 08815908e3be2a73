"""A Redis that forgets when it is killed, unlike that of the other tests, and clients that fail at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.fleet.owners import LONG_TTL, Diary, Start
from tests.parts.onloop import running_loop, serve, stop_service
from worker68.embedded import EmbeddedRedis
from worker68.fleet.catalogues import Catalogues
from worker68.fleet.leases import FRONT, Lease, Leases
from worker68.fleet.members import Members
from worker68.fleet.ownership import Callbacks, Ownership
from worker68.fleet.shares import Shares
from worker68.fleet.spread import UNLABELLED
from worker68.loop import LoopThread


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> Iterator[redis.Redis]:
    redis_server.reset()
    with redis.Redis.from_url(redis_server.url, protocol=2, socket_timeout=60, retry=Retry(NoBackoff(), 0)) as client:
        yield client


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with running_loop() as loop:
        yield loop


@pytest.fixture
def start(client: redis.Redis, loop: LoopThread) -> Iterator[Start]:
    """Start workers; all are stopped in the end."""
    started: list[Ownership] = []

    def start(
        *names: str,
        ttl: float = LONG_TTL,
        on_gained: Callable[[Lease], None] = lambda lease: None,
        on_lost: Callable[[Lease], None] = lambda lease: None,
        is_busy: Callable[[Lease], bool] = lambda lease: False,
        leave_seconds: float = LONG_TTL,
        there_is: Callable[[], Mapping[str, str | None] | None] | None = None,
    ) -> tuple[Ownership, Diary]:
        diary = Diary()

        def gained(lease: Lease) -> None:
            diary.note("gained", lease)
            on_gained(lease)

        def lost(lease: Lease) -> None:
            diary.note("lost", lease)
            on_lost(lease)

        worker_id = f"worker-{len(started)}"
        labels = {name: None if name == FRONT else UNLABELLED for name in names}
        there_is = there_is or (lambda: labels)
        shares = Shares(Members(client, worker_id, ttl), Catalogues(client, ttl))
        leases = Leases(client, worker_id, ttl)
        callbacks = Callbacks(
            on_gained=gained,
            on_lost=lost,
            on_leaving=lambda lease: diary.note("leaving", lease),
            is_busy=is_busy,
            leave_seconds=lambda lease: leave_seconds,
        )
        ownership = Ownership(leases, shares, there_is, loop.loop, callbacks)
        started.append(ownership)
        serve(loop, ownership)
        return ownership, diary

    yield start
    for ownership in started:
        stop_service(loop, ownership)
