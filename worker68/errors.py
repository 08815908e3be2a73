"""Every error that worker68 raises on purpose. Each message says what is wrong, where, and what to do next."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path


class Worker68Error(Exception):
    """The common ancestor: catch it to catch everything that worker68 raises on purpose."""


class SettingsError(Worker68Error):
    """A setting is missing or wrong. The message is one line: which one, what it is, and what would be right."""


@dataclass(frozen=True)
class Sender:
    """Who is answered where a message as a whole cannot be read: its Celery id, and what else its headers say."""

    task_id: str
    task: str = ""
    ignore_result: bool = False


class UnreadableMessage(Worker68Error):
    """A message from Redis without a usable envelope or body: set it aside with the reason; answer ``sender`` if it is known."""

    sender: Sender | None = None


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a job: its name as the producer wrote it, and what would be right."""

    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class InvalidJob(Worker68Error):
    """A readable message that is no valid job. ``fields`` names everything that is wrong with it, not only the first."""

    def __init__(self, fields: list[FieldError]) -> None:
        self.fields = tuple(fields)
        super().__init__("; ".join(map(str, fields)))


class DatabaseAway(Worker68Error):
    """The database did not answer or refused the connection: wait, look at DATABASE_URL, try again."""


class DatabaseUnfit(DatabaseAway):
    """The database answers, and cannot be used as it is (no tables, another version, another encoding): an operator must act."""


class RowsLocked(DatabaseAway):
    """Another session holds the rows: that of an owner that is frozen, until the server ends it. Try again in a moment."""


class DatabaseRefused(Worker68Error):
    """The database is there and refused the data: a repeat would be refused too. The cause says why."""


class RedisAway(Worker68Error):
    """Redis did not answer: nothing may be sent until it does. Look at REDIS_URL."""


class RedisNotNow(RedisAway):
    """Redis answers, and refuses to work at present: full, read-only, its disk full. Other commands may be served meanwhile."""


class RedisForbids(RedisNotNow):
    """Redis refuses its user a right without which no worker works. The message names it: grant what docs/redis.md lists."""


class LeaseLost(Worker68Error):
    """This worker no longer owns the account: stop starting and writing; evidence already seen still counts."""


def describe_fault(error: BaseException) -> str:
    """Return what was raised where, without the error's own words: they may quote the message."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{where}"


def is_drivers(error: BaseException) -> bool:
    """Whether this is an error of PostgreSQL's driver, or one that SQLAlchemy has made of a driver's."""
    return hasattr(error, "sqlstate") or hasattr(error, "orig")


def words_of(error: BaseException) -> str:
    """Return an error's own words; of a database driver's its code alone."""
    if is_drivers(error):
        return code_of(error)
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - what tells of a fault must not be one
        return f"({type(error).__name__} has no words)"


def code_of(error: BaseException) -> str:
    """Return the code of a database driver's error in place of its words: PostgreSQL may quote a row, and so a message."""
    orig = getattr(error, "orig", error)
    state, name = getattr(orig, "sqlstate", None), getattr(orig, "sqlite_errorname", None)
    code = f"SQLSTATE {state}" if state else name or "no code"
    return f"{code} (the database's words may quote a row, and are left out)"


class ServerNotFound(Worker68Error):
    """A server program to embed (Redis) is not on this machine. The message names the package to install."""
