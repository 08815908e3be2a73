"""The rights that worker68 needs of Redis, each tried as ``REDIS_URL``'s user, for ``worker68 check``.

In: the URL and the accounts. Out: the commands that Redis refuses, with their key or channel. Each is sent within ``MULTI`` and
never executed: Redis judges rights when a command is queued, and the end of the connection drops the queue. So nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import NoPermissionError, ResponseError

from worker68.broker.bindings import KEYS as BINDINGS
from worker68.broker.place import FRONT_NAME, Place, lists_of, show_key
from worker68.broker.url import read_redis_url
from worker68.broker.wire import Wire
from worker68.fleet.catalogues import catalogue_key
from worker68.fleet.leases import FRONT, PROMOTION_KEY, account_lease, fence_key, lease_key
from worker68.fleet.members import FLEET_KEYS
from worker68.limits.pace import pace_key

Command = tuple[str | int, ...]

#: Without these the worker works, with the consequence named.
OPTIONAL: Final[tuple[tuple[tuple[Command, ...], str], ...]] = (
    ((("CLIENT", "SETNAME", "x"),), "connections have no name"),
    (
        (
            ("CLIENT", "ID"),
            ("CLIENT", "TRACKING", "ON", "REDIRECT", 0, "NOLOOP"),
            ("CLIENT", "TRACKINGINFO"),
            ("SUBSCRIBE", "__redis__:invalidate"),
        ),
        "jobs are looked for once a second",
    ),
    ((("INFO",),), "check cannot see the version and settings of Redis; no lease waits after a failover"),
)


_OPTIONAL_COMMANDS: Final = [command for commands, _ in OPTIONAL for command in commands]

#: These run at once, and change nothing.
_FIRST: Final[tuple[Command, ...]] = (("WATCH", "unacked"), ("UNWATCH",), ("MULTI",))


@dataclass(frozen=True)
class Refused:
    """What Redis refuses its user: the commands that the worker needs, and those it can do without, with the consequence."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]


def find_refused(redis_url: str, accounts: Sequence[str]) -> Refused:
    """Try every command that the worker sends, with the keys of these accounts. Raises ``RedisAway``."""
    needed = [*_of_place(Place(FRONT_NAME, lease_key(FRONT), "", 0)), *_of_all(redis_url)]
    needed += [
        ("SET", lease_key(FRONT), ""),
        ("INCR", fence_key(FRONT)),
        ("GET", PROMOTION_KEY),
        ("SET", PROMOTION_KEY, ""),
    ]
    for account in accounts:
        needed += _of_account(account)
    wire = Wire(redis_url, "worker68-check")
    try:
        wire.connect()
    except NoPermissionError:  # the one command that may be needed before all others
        return Refused((f"SELECT {_database(redis_url)}",), ())
    try:
        refused = _try(wire, _FIRST)
        if ("MULTI",) not in refused:  # else the others would not be queued, but run
            refused |= _try(wire, [*needed, *_OPTIONAL_COMMANDS])
    finally:
        wire.close()
    return Refused(
        tuple(dict.fromkeys(_show(command) for command in (*_FIRST, *needed) if command in refused)),
        tuple(
            f"{_show(command)} ({consequence})"
            for commands, consequence in OPTIONAL
            for command in commands
            if command in refused
        ),
    )


def _try(wire: Wire, commands: Sequence[Command]) -> set[Command]:
    """Return those that Redis refuses or does not have; ``MULTI`` also for any other error."""
    for command in commands:
        wire.send(*command)
    return {command for command in commands if _is_refused(wire, command)}


def _is_refused(wire: Wire, command: Command) -> bool:
    try:
        wire.read()
    except ResponseError as error:
        return isinstance(error, NoPermissionError) or "unknown" in str(error) or command == ("MULTI",)
    return False


def _database(redis_url: str) -> int:
    return read_redis_url(redis_url).database


def _show(command: Command) -> str:
    """Return the command's name, and the key or channel on which it was tried."""
    words = [str(word) for word in command]
    if words[0] == "CLIENT":
        return " ".join(words[:2])
    if words[0] in ("EVAL", "EVALSHA"):
        return words[0]
    return show_key(" ".join(words[:2]))


def _of_place(place: Place) -> Iterator[Command]:
    """Yield what the intake does with a queue, whose scripts send these, and what binds it."""
    for key in lists_of(place.queue):
        yield from (("LLEN", key), ("RPOP", key), ("RPUSH", key, ""), ("LPUSH", key, ""), ("LRANGE", key, 0, 0))
        yield from (("LINDEX", key, 0), ("LSET", key, 0, ""), ("LREM", key, 0, ""))
    yield from (("GETEX", place.lease_key), ("GET", place.lease_key), ("PEXPIRE", place.lease_key, 1))
    key = place.unacked_key
    yield from (("HLEN", key), ("HKEYS", key), ("HGET", key, ""), ("HSET", key, "", ""), ("HDEL", key, ""))
    for binding in BINDINGS:
        key = binding % place.queue
        yield from (("SADD", key, ""), ("SMEMBERS", key), ("SREM", key, ""))


def _of_account(account: str) -> Iterator[Command]:
    name = account_lease(account)
    yield from _of_place(Place(account, lease_key(name), "", 0))
    yield from (("SET", lease_key(name), ""), ("INCR", fence_key(name)))
    kept, pace = f"worker68:kept:{account}", pace_key(account)
    yield from (("HSET", kept, "", ""), ("HDEL", kept, ""), ("HGETALL", kept))
    yield from (
        ("HMGET", pace, ""),
        ("HGETALL", pace),
        ("HSET", pace, "", ""),
        ("HINCRBY", pace, "", 1),
        ("HDEL", pace, ""),
        ("DEL", pace),
    )
    limit, events = f"worker68:limit:{{{account}}}:account", f"worker68:events:{account}"
    yield from (("MGET", limit), ("SET", limit, ""), ("XADD", events, "*", "", ""), ("EXPIRE", events, 1))


def _of_all(redis_url: str) -> Iterator[Command]:
    """Yield what belongs to no account: replies, results, the roster, and Celery's own."""
    database = _database(redis_url)
    result, replies, stream, marks = (
        "celery-task-meta-check",
        "worker68:replies:check",
        "worker68:replies:check:stream",
        "worker68:replies:check:marks",
    )
    yield from (("PING",), ("TIME",), ("EVAL", "return 1", 0), ("EVALSHA", "0" * 40, 0))
    yield from (("SET", result, ""), ("GET", result), ("PUBLISH", result, ""), ("SUBSCRIBE", result))
    yield from (("RPUSH", replies, ""), ("EXPIRE", replies, 1), ("LLEN", replies), ("LPOP", replies))
    yield from (("XADD", stream, "*", "", ""), ("XTRIM", stream, "MINID", 0), ("XLEN", stream))
    yield from (("LINDEX", marks, 0), ("LTRIM", marks, 0, 0), ("RPUSH", marks, ""), ("EXPIRE", marks, 1))
    dead, roster, status = "worker68:dead", "worker68:workers", "worker68:worker:check"
    yield from (("RPUSH", dead, ""), ("LRANGE", dead, 0, 0), ("LREM", dead, 0, ""), ("LPOS", dead, ""))
    yield from (("ZADD", roster, 0, ""), ("ZREM", roster, ""), ("ZRANGE", roster, 0, 0))
    yield from (("ZREMRANGEBYSCORE", roster, 0, 0), ("SET", status, ""), ("MGET", status), ("DEL", status))
    words, *sets = FLEET_KEYS
    yield from (("HSET", words, "", ""), ("HGET", words, ""), ("HDEL", words, ""), ("HKEYS", words), ("HLEN", words))
    for key in sets:
        yield from (("ZADD", key, 0, ""), ("ZREM", key, ""), ("ZREMRANGEBYSCORE", key, 0, 0))
        yield from (("ZRANGEBYSCORE", key, 0, 0), ("ZREVRANGE", key, 0, 0))
    catalogue = catalogue_key("check")
    yield from (("PEXPIRE", catalogue, 1), ("SET", catalogue, ""), ("MGET", catalogue))
    for exchange in ("celery.pidbox", "reply.celery.pidbox"):
        binding = f"_kombu.binding.{exchange}"
        yield from (("SADD", binding, ""), ("SMEMBERS", binding), ("SREM", binding, ""), ("EXISTS", binding))
    deadlines = "_kombu.binding_deadlines"
    yield from (("ZADD", deadlines, 0, ""), ("ZRANGEBYSCORE", deadlines, 0, 0), ("ZREM", deadlines, ""))
    yield from (("LLEN", "celery@check.celery.pidbox"), ("LPUSH", "check.reply.celery.pidbox", ""))
    yield from (("PSUBSCRIBE", f"/{database}.celery.pidbox"), ("PUBLISH", f"/{database}.celery.pidbox", ""))
    yield ("PUBLISH", f"/{database}.celeryev/worker.heartbeat", "")
