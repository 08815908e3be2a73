"""Calls to Redis: which of its errors mean "away", and Lua scripts run as one atomic step.

In: a block of calls, or the name of a ``.lua`` file beside a module. Out: Redis's reply, or ``RedisAway``. Never: a retry of its
own, a connection of its own, a meaning of keys or replies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final

import redis
from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from worker68.errors import RedisAway

# Replies that say "not now" rather than "never" (full, a replica after a failover, disk full, another script runs, too few
# replicas). Raised within a script, Redis 6.2 quotes them in the middle of an error of its own. A database that is not there
# is one of a wrong REDIS_URL, as is a server that is not there.
_NOT_NOW: Final = re.compile(r"(^|[ -])(OOM|READONLY|MISCONF|BUSY|NOREPLICAS|MASTERDOWN) |DB index is out of range")
_ERRORS: Final = (redis.ConnectionError, redis.TimeoutError, OSError, ResponseError)
_NOT_NOW_TYPES: Final = (OutOfMemoryError, ReadOnlyError, ClusterDownError, TryAgainError)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn each error that means "Redis cannot serve us now" into ``RedisAway``; faults of ours pass as they are."""
    try:
        yield
    except _ERRORS as error:
        _raise_away(error)
        raise


def _raise_away(error: Exception) -> None:
    """Raise ``RedisAway`` for an error that means it; do nothing for a fault of ours."""
    if not isinstance(error, ResponseError):
        raise RedisAway(f"Redis did not answer ({error}): is REDIS_URL right, is Redis up?") from error
    if isinstance(error, _NOT_NOW_TYPES) or _NOT_NOW.search(str(error)):
        raise RedisAway(f"Redis refuses to work at present: {error}") from error


class LuaScript:
    """One Lua file, run as one atomic step. It survives ``SCRIPT FLUSH`` and a restarted Redis. Thread-safe as the client is.

    When a run raises ``RedisAway`` the script may have run or not: each script must be harmless if it is run again.
    """

    def __init__(self, client: redis.Redis, package: str, file_name: str) -> None:
        self._client: Any = client
        self._source = files(package).joinpath(file_name).read_text("utf-8")
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest().encode()

    def run(self, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        # Short for the limiter's sake: neither a context manager nor the client's own method for each command.
        call = self._client.execute_command
        try:
            try:
                return call("EVALSHA", self._sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return call("EVAL", self._source, len(keys), *keys, *arguments)
        except _ERRORS as error:
            _raise_away(error)
            raise
