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
# replicas). Raised within a script, Redis 6.2 quotes them in the middle of an error of its own.
_NOT_NOW: Final = re.compile(r"(^|[ -])(OOM|READONLY|MISCONF|BUSY|NOREPLICAS|MASTERDOWN) ")
_NOT_NOW_TYPES: Final = (OutOfMemoryError, ReadOnlyError, ClusterDownError, TryAgainError)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn each error that means "Redis cannot serve us now" into ``RedisAway``; faults of ours pass as they are."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise RedisAway(f"Redis did not answer ({error}): is REDIS_URL right, is Redis up?") from error
    except ResponseError as error:
        if isinstance(error, _NOT_NOW_TYPES) or _NOT_NOW.search(str(error)):
            raise RedisAway(f"Redis refuses to work at present: {error}") from error
        raise


class LuaScript:
    """One Lua file, run as one atomic step. It survives ``SCRIPT FLUSH`` and a restarted Redis. Thread-safe as the client is.

    When a run raises ``RedisAway`` the script may have run or not: each script must be harmless if it is run again.
    """

    def __init__(self, client: redis.Redis, package: str, file_name: str) -> None:
        self._client: Any = client
        self._source = files(package).joinpath(file_name).read_text("utf-8")
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def run(self, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        with redis_errors():
            try:
                return self._client.evalsha(self._sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return self._client.eval(self._source, len(keys), *keys, *arguments)
