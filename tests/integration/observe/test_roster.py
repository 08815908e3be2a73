"""What workers tell about themselves, and who reads it: ``top`` all of it, ``health`` who is well."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker68.cli import health
from worker68.clock import utc_now
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.observe.roster import REPORTED_FOR_SECONDS, ROSTER_KEY, AccountStatus, Roster, WorkerStatus, status_key


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client that fails at once where Redis is not there."""
    with redis.Redis.from_url(redis_url, protocol=2, socket_timeout=60, retry=Retry(NoBackoff(), 0)) as client:
        yield client


def status(worker: str, problem: str | None = None, told_at: dt.datetime | None = None) -> WorkerStatus:
    main = AccountStatus(bridge=None, unfinished=3, in_flight=1, ended_per_minute=12.5, endings={"succeeded": 7})
    now = utc_now()
    return WorkerStatus(worker, 4711, now, told_at or now, problem, front=True, accounts={"main": main})


def test_what_was_told_is_read(client: redis.Redis) -> None:
    roster = Roster(client)
    roster.report(status("host-b"))
    roster.report(status("host-a"))
    assert [one.worker for one in roster.read()] == ["host-a", "host-b"]
    assert roster.read()[0].accounts["main"].endings == {"succeeded": 7}
    assert 0 < client.pttl(status_key("host-a")) <= REPORTED_FOR_SECONDS * 1000


def test_who_left_is_not_read(client: redis.Redis) -> None:
    roster = Roster(client)
    roster.report(status("host-a"))
    roster.leave("host-a")
    assert roster.read() == []
    assert client.exists(ROSTER_KEY) == 0


@pytest.mark.parametrize("report", [b'{"worker": "host-a"}', b"no JSON", b'{"worker": "\xff"}'])
def test_a_report_of_another_version_is_left_out(client: redis.Redis, report: bytes) -> None:
    roster = Roster(client)
    for worker in ("host-a", "host-b"):
        roster.report(status(worker))
    client.set(status_key("host-a"), report)
    assert [one.worker for one in roster.read()] == ["host-b"]


def test_a_redis_that_is_away_is_said(client: redis.Redis, redis_server: EmbeddedRedis) -> None:
    redis_server.kill()
    with pytest.raises(RedisAway):
        Roster(client).report(status("host-a"))
    redis_server.restart()


class TestHealthWithoutAFile:
    @pytest.fixture(autouse=True)
    def here(self, client: redis.Redis, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "gethostname", lambda: "host")
        monkeypatch.setattr(health, "REDIS_SECONDS", 60.0)
        monkeypatch.setenv("WORKER68_REDIS_URL", redis_server.url)
        for name in ("WORKER68_HEALTH_FILE", "WORKER68_CONFIG"):
            monkeypatch.delenv(name, raising=False)

    def test_a_worker_of_this_host_that_is_well(self, client: redis.Redis) -> None:
        Roster(client).report(status("host-a"))
        assert health.main(as_json=False) == 0

    def test_a_worker_of_another_host(self, client: redis.Redis) -> None:
        Roster(client).report(status("hostess-a"))
        assert health.main(as_json=False) == 1

    def test_a_worker_that_was_never_well(self, client: redis.Redis) -> None:
        Roster(client).report(status("host-a", problem="no database"))
        assert health.main(as_json=False) == 1

    def test_a_worker_that_was_well_a_minute_ago(self, client: redis.Redis) -> None:
        roster = Roster(client)
        roster.report(status("host-a", told_at=utc_now() - dt.timedelta(minutes=1)))
        roster.report(status("host-a", problem="no database"))
        assert health.main(as_json=False) == 1

    def test_a_redis_with_a_password_and_another_database(
        self, client: redis.Redis, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client.config_set("requirepass", "s3cret/word")
        url = redis_server.url.replace("redis://", "redis://:s3cret%2Fword@").removesuffix("/0") + "/3"
        with redis.Redis.from_url(url) as other:
            Roster(other).report(status("host-a"))
            try:
                monkeypatch.setenv("WORKER68_REDIS_URL", url)
                assert health.main(as_json=False) == 0
                monkeypatch.setenv("WORKER68_REDIS_URL", url.replace("s3cret", "guessed"))
                assert health.main(as_json=False) == 1
            finally:
                other.config_set("requirepass", "")
