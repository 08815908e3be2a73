"""Calls to Redis: which of its errors mean "away", which are refusals for good, and Lua scripts run as one atomic step.

In: a block of calls, a pipeline, or the name of a ``.lua`` file beside a module. Out: Redis's reply, or ``RedisAway``. Never: a
retry of its own, a connection of its own, a meaning of keys or replies.
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
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from worker68.errors import RedisAway, RedisForbids, RedisNotNow

# Replies that say "not now" rather than "never" (full, a replica after a failover, disk full, another script runs, too few
# replicas). Raised within a script, Redis 6.2 quotes them in the middle of an error of its own. A database that is not there
# is one of a wrong REDIS_URL, as is a server that is not there.
_NOT_NOW: Final = re.compile(r"(^|[ -])(OOM|READONLY|MISCONF|BUSY|NOREPLICAS|MASTERDOWN) |DB index is out of range")
#: Where Redis begins to quote the arguments of a command.
_ARGUMENTS: Final = re.compile(r",? with args beginning with")
#: Where Redis says which line of a script failed, and the command in such a line.
_LINE: Final = re.compile(r"user_script:(\d+)")
_COMMAND: Final = re.compile(r"redis\.p?call\('(\w+)'")
#: What Redis says of a right that is missing within a script, and of a command that it does not have, as renamed ones; the error's
#: type does not tell.
_FORBIDDEN: Final = re.compile(r"The user executing the script can't|unknown (Redis )?command", re.IGNORECASE)
#: What it says of a right to a key, within a script or not. Of a right to a command it says that the user may not run it.
_KEY_FORBIDDEN: Final = re.compile(r"access (a|one of the|at least one of the) keys?\b")
#: A refusal is cut after this.
REFUSAL_LENGTH: Final = 200
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
    if _is_not_now(error):
        raise RedisNotNow(f"Redis refuses to work at present: {error}") from error


def says_read_only(error: ResponseError) -> bool:
    """Whether the server says that it is a replica; within a script Redis 6.2 says so in the middle of another error."""
    return isinstance(error, ReadOnlyError) or "READONLY " in str(error)


def forbids_key(error: ResponseError) -> bool:
    """Return whether a right to a key is missing: others may be used by the same command."""
    return _KEY_FORBIDDEN.search(str(error)) is not None


def _is_not_now(error: ResponseError) -> bool:
    return isinstance(error, _NOT_NOW_TYPES) or _NOT_NOW.search(str(error)) is not None


def answers_of(pipe: Any) -> list[Any]:
    """Run a pipeline; return its answers, each refusal in its place. Raises ``RedisAway``: nothing is known of any."""
    with redis_errors():
        answers: list[Any] = pipe.execute(raise_on_error=False)
    return answers


def not_now(answer: object) -> RedisNotNow | None:
    """Return the error where this answer says "later": Redis is full, read-only, its disk full, or has not got the script.

    The last is so where the run that was to bring it was refused, or the scripts were flushed just then.
    """
    if isinstance(answer, ResponseError) and (_is_not_now(answer) or isinstance(answer, NoScriptError)):
        return RedisNotNow(f"Redis refuses to work at present: {answer}")
    return None


def refusal(answer: object) -> str | None:
    """Return the words of an answer that refuses for good: no right, a key of another type. Others give None.

    Without the arguments, which Redis quotes of a command that it does not know: they may hold message text.
    """
    if isinstance(answer, ResponseError) and not _is_not_now(answer):
        words = _ARGUMENTS.split(str(answer), maxsplit=1)[0]
        # The client takes this code off.
        return ("NOPERM " * isinstance(answer, NoPermissionError) + words)[:REFUSAL_LENGTH]
    return None


def caught_error(words: bytes | str) -> ResponseError:
    """Return as an error what a script has caught (``redis.pcall``) and gives back in words."""
    return ResponseError(words.decode(errors="replace") if isinstance(words, bytes) else words)


class Script:
    """A Lua file beside a module, and the name by which Redis remembers it."""

    def __init__(self, package: str, file_name: str) -> None:
        self.source = files(package).joinpath(file_name).read_text("utf-8")
        # Redis names scripts by SHA-1; nothing is protected by it.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest().encode()

    def raise_forbidden(self, error: ResponseError) -> None:
        """Raise ``RedisForbids`` where the script may not be run, or a command within it; do nothing for other errors."""
        words = _ARGUMENTS.split(str(error), maxsplit=1)[0]
        if not isinstance(error, NoPermissionError) and not _FORBIDDEN.search(words):
            return
        line = _LINE.search(words)
        command = _COMMAND.search(self.source.splitlines()[int(line[1]) - 1]) if line else None
        what = f"the right to {command[1]}" if command else f"a right ({words})"
        raise RedisForbids(
            f"Redis refuses its user {what}: grant what docs/redis.md lists; `worker68 check` names all that is missing"
        ) from error

    def error_of(self, answer: ResponseError) -> Exception:
        """Return the error that stands for this answer to a run of the script: ``RedisNotNow``, ``RedisForbids``, or itself."""
        if (later := not_now(answer)) is not None:
            return later
        try:
            self.raise_forbidden(answer)
        except RedisForbids as forbidden:
            return forbidden
        return answer


class LuaScript(Script):
    """A script run by a client as one atomic step, also by a Redis that has forgotten it. Thread-safe as the client is.

    When a run raises ``RedisAway`` the script may have run or not: each script must be harmless if it is run again.
    """

    def __init__(self, client: redis.Redis, package: str, file_name: str) -> None:
        super().__init__(package, file_name)
        self._client: Any = client

    def run(self, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        # Short for the limiter's sake: neither a context manager nor the client's own object for scripts.
        call = self._client.execute_command
        try:
            try:
                return call("EVALSHA", self.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return call("EVAL", self.source, len(keys), *keys, *arguments)
        except _ERRORS as error:
            _raise_away(error)
            if isinstance(error, ResponseError):
                self.raise_forbidden(error)
            raise

    def run_each(self, runs: Sequence[tuple[Sequence[str], Sequence[str | int | bytes]]]) -> list[Any]:
        """Run the script once for each (keys, arguments), in one round trip; return the answers, refusals among them.

        Each run is a step of its own; the first one brings the script. Raises ``RedisAway``: each may have run or not.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for place, (keys, arguments) in enumerate(runs):
                head = ("EVALSHA", self.sha) if place else ("EVAL", self.source)
                pipe.execute_command(*head, len(keys), *keys, *arguments)
            return answers_of(pipe)
