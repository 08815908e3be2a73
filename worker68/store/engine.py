"""The database connection: SQLite for one host, PostgreSQL for production, and what "away" means for both."""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    InternalError,
    InvalidatePoolError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from worker68.clock import monotonic
from worker68.errors import DatabaseAway
from worker68.store.endings import Endings
from worker68.store.url import read_database_url

__all__ = ["Connection", "Engine", "endings_of", "first_line", "open_engine", "reading", "transaction"]

#: How long a connection attempt may take: long enough for a busy server, short enough to say that it is away.
CONNECT_TIMEOUT_SECONDS = 5
#: A server that is gone without a word (a cable, a firewall that forgets idle connections) is noticed within half a minute.
_KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
#: A connection that was used less than so long ago is taken to be alive.
IDLE_SECONDS = 1.0
#: Under this key a pooled connection carries when it was last used, in monotonic seconds.
_USED_AT = "worker68_used_at"
#: How long a SQLite transaction waits for another process's.
SQLITE_BUSY_TIMEOUT_MS = 5000

#: SQLite has one writer at a time and lets the others sleep and try again. The threads of this process take turns instead.
_turns: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()

_endings: WeakKeyDictionary[Engine, Endings] = WeakKeyDictionary()


def open_engine(url: str) -> Engine:
    """Return an engine for ``DATABASE_URL``; nothing is connected yet. Raises ``SettingsError`` for a bad URL.

    Its errors do not show the values of a statement: they hold message text, and errors are logged.
    """
    parsed = read_database_url(url)
    if parsed.get_backend_name() == "postgresql":
        engine = create_engine(
            parsed,
            pool_size=4,
            max_overflow=12,
            hide_parameters=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "worker68", **_KEEPALIVES},
        )
        event.listen(engine, "checkout", functools.partial(_ping_if_idle, engine.dialect))
        event.listen(engine, "checkin", _note_use)
        return engine
    engine = create_engine(parsed, hide_parameters=True, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_MS / 1000})
    _turns[engine] = threading.Lock()
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def endings_of(engine: Engine) -> Endings:
    """Return the counts of the jobs that this engine's transactions have ended."""
    return _endings.setdefault(engine, Endings())


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run the block in one transaction; raise ``DatabaseAway`` when the database cannot be reached or cannot write."""
    endings = endings_of(engine)
    with _saying_away(), _turns.get(engine, nullcontext()), engine.begin() as connection:
        noted = endings.begin(connection)
        yield connection
    if noted:
        endings.add(noted)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Run the block, which writes nothing, without taking SQLite's write lock."""
    with _saying_away(), engine.connect().execution_options(worker68_reading=True) as connection:
        yield connection


@contextmanager
def _saying_away() -> Iterator[None]:
    try:
        yield
    except (InterfaceError, InternalError, PoolTimeout) as error:  # internal: also a standby's "read-only transaction"
        raise DatabaseAway(first_line(error)) from error
    except DBAPIError as error:
        if error.connection_invalidated or (isinstance(error, OperationalError) and _may_pass(error)):
            raise DatabaseAway(first_line(error)) from error
        raise


def _may_pass(error: OperationalError) -> bool:
    """Whether waiting may help. SQLite says "operational" also of a wrong statement (its code SQLITE_ERROR)."""
    return getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR


def first_line(error: Exception) -> str:
    """Return what the database said, without the lines in which PostgreSQL quotes the row: they hold message text."""
    cause: Any = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = monotonic()


def _ping_if_idle(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Replace a connection that was cut while nobody used it, and all that were opened before, as ``pool_pre_ping`` does.

    That asks before each use, which costs a busy worker a tenth of its throughput.
    """
    if monotonic() - record.info.get(_USED_AT, monotonic()) < IDLE_SECONDS:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        if dialect.is_disconnect(error, connection, None):
            raise InvalidatePoolError from error
        raise


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver would begin transactions by itself, and deferred ones: two writers would then fail instead of waiting.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL: an outcome that was committed survives a power cut, as the promises need.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    if not connection.get_execution_options().get("worker68_reading"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
