"""Every error that worker68 raises on purpose. Each message says what is wrong, where, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass


class Worker68Error(Exception):
    """The common ancestor: catch it to catch everything that worker68 raises on purpose."""


class SettingsError(Worker68Error):
    """A setting is missing or wrong. The message is one line: which one, what it is, and what would be right."""


class UnreadableMessage(Worker68Error):
    """A message from Redis whose envelope tells no task name or id, so nobody can be answered: set it aside with the reason."""


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


class LeaseLost(Worker68Error):
    """This worker no longer owns the account: stop starting and writing; evidence already seen still counts."""


class ServerNotFound(Worker68Error):
    """A server program to embed (Redis) is not on this machine. The message names the package to install."""
