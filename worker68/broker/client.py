"""Connections to Redis, each made from ``REDIS_URL``: to the server that it names, or to the master that its sentinels name.

In: the URL, and redis-py's options. Out: a pool or a client, which asks the sentinels anew whenever it connects. A connection on
which the server says that it is a replica is given up: after a failover another server is the master. Never: a retry.
"""

# mypy: disallow-untyped-calls=False
# because redis-py's sentinels are not typed.

from __future__ import annotations

from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from worker68.broker.url import RedisAddress, read_redis_url
from worker68.redis_calls import says_read_only

#: A sentinel that does not answer within this is passed over. All of them together should take less than a lease lasts.
SENTINEL_SECONDS: Final = 1.0


class _Leaving:
    """A connection that is closed where its server has become a replica; the next one leads to wherever the master is then."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            if says_read_only(error):
                self.disconnect()  # type: ignore[attr-defined]
            raise


class _Plain(_Leaving, Connection):
    pass


class _Tls(_Leaving, SSLConnection):
    pass


class _Managed(_Leaving, SentinelManagedConnection):
    pass


class _ManagedTls(_Leaving, SentinelManagedSSLConnection):
    pass


class Sentinels(Sentinel):
    """The sentinels of a URL, asked on any thread. redis-py's own would reorder its list, in which threads may lose one."""

    def __init__(self, address: RedisAddress) -> None:
        super().__init__(address.hosts, sentinel_kwargs=sentinel_options(address))
        self._first = 0  # the place of the one that answered last

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's address. Raises ``MasterNotFoundError``, with what each sentinel said."""
        problems = []
        places = range(len(self.sentinels))
        for place in (*places[self._first :], *places[: self._first]):
            sentinel = self.sentinels[place]
            where = "{host}:{port}".format_map(sentinel.connection_pool.connection_kwargs)
            try:
                state = sentinel.sentinel_masters().get(service_name)
            except RedisError as error:
                is_none = isinstance(error, ResponseError) and "unknown command" in str(error)
                problems.append(f"{where}: {'it is no sentinel' if is_none else error}")
                continue
            if state and self.check_master_state(state, service_name):
                self._first = place
                return state["ip"], state["port"]
            problems.append(f"{where}: {'it is down' if state else 'no master of this name'}")
        raise MasterNotFoundError(f"the sentinels name no master {service_name}: {'; '.join(problems)}")


def sentinel_options(address: RedisAddress) -> dict[str, Any]:
    """Return how redis-py, and through it kombu and Celery, connects to a sentinel: once, for there are others."""
    options: dict[str, Any] = {"protocol": 2, "retry": Retry(NoBackoff(), 0)}
    options |= {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
    options |= {name: word for name, word in address.sentinel_login._asdict().items() if word is not None}
    return options if address.tls is None else options | {"ssl": True} | address.tls


def make_pool(redis_url: str, **options: Any) -> ConnectionPool:
    """Return a pool of connections; nothing is connected yet. ``options`` are those of redis-py's connections."""
    address = read_redis_url(redis_url)
    tls = {} if address.tls is None else address.tls
    options = {"db": address.database, **address.login._asdict(), **tls, **options}
    if address.master is not None:
        kind = _Managed if address.tls is None else _ManagedTls
        return SentinelConnectionPool(address.master, Sentinels(address), connection_class=kind, **options)
    ((host, port),) = address.hosts
    return ConnectionPool(connection_class=_Plain if address.tls is None else _Tls, host=host, port=port, **options)


def make_client(redis_url: str, **options: Any) -> Redis:
    """Return a client, which closes its connections when it is closed; nothing is connected yet."""
    return Redis.from_pool(make_pool(redis_url, **options))
