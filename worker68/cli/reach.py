"""Redis and the database from the command line: give up soon, and say in one line what does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from celery.exceptions import BackendError
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worker68.broker.client import make_client
from worker68.broker.url import read_redis_url
from worker68.errors import DatabaseAway, DatabaseUnfit, RedisAway
from worker68.fleet.leases import account_lease, read_owners

#: A Redis that does not answer a command within this is away, for a person at a terminal.
REDIS_SECONDS: Final = 3.0


def open_redis(redis_url: str) -> Redis:
    """Return a client that gives up at once; nothing is connected yet."""
    return make_client(
        redis_url,
        protocol=2,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


@contextmanager
def saying_away(redis_url: str, consequence: str = "") -> Iterator[None]:
    """Turn what a Redis that is away makes the libraries raise into one ``RedisAway``, which does not show the password."""
    try:
        yield
    except (RedisError, OperationalError, BackendError, OSError) as error:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise RedisAway(
            f"Redis at {read_redis_url(redis_url)} does not answer ({reason}); {consequence}"
            "start it, or set WORKER68_REDIS_URL to where it is"
        ) from error


def find_owners(redis_url: str, accounts: list[str]) -> dict[str, str]:
    """Return for each account that a worker owns now the worker's name."""
    with saying_away(redis_url), open_redis(redis_url) as redis:
        owners = read_owners(redis, list(map(account_lease, accounts)))
    return {account: owners[lease] for account in accounts if (lease := account_lease(account)) in owners}


def explain_database(away: DatabaseAway) -> str:
    """Return what is wrong with the database and what to do, in one line."""
    reason = str(away)
    if isinstance(away, DatabaseUnfit):
        return reason
    return f"the database does not answer ({reason}); start it, or set WORKER68_DATABASE_URL to where it is"
