"""The database connection: SQLite for one host, PostgreSQL for production, and what "away" means for both."""

from __future__ import annotations

import functools
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
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
from worker68.errors import DatabaseAway, DatabaseUnfit, RowsLocked
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
#: How each transaction begins on PostgreSQL, in one round trip. The settings end with it, so they hold behind a transaction pooler
#: too, where the next one meets another session, and startup options are refused. The server ends a session whose client is frozen,
#: or gone with its host: its locks outlive its lease by seconds at most. Our own statements follow each other in milliseconds. (It
#: ends none that is idle after a pipeline, as the driver makes of one statement with many rows: a batch is one parameter.) The
#: level: under another default of the database, what waits for a lock would fail instead.
_BEGIN_POSTGRESQL = "; ".join(
    (
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "SET LOCAL idle_in_transaction_session_timeout = 5000",
        "SET LOCAL tcp_keepalives_idle = 5",
        "SET LOCAL tcp_keepalives_interval = 2",
        "SET LOCAL tcp_keepalives_count = 3",
        "SET LOCAL tcp_user_timeout = 10000",
    )
)
#: SQLSTATEs, or their classes, that do not blame the statement: the same may succeed later, some only when an operator has acted.
_PASSING = {
    "08": "the connection",
    "0A": "a cached plan whose result type has changed; no statement of ours asks for what is not supported",
    "25": "the transaction: read-only after a fail-over, ended because it was idle",
    "26": "a prepared statement of another session",
    "28": "the login",
    "3D": "no such database",
    "3F": "no such schema",
    "40": "a deadlock, a serialization failure",
    "42501": "a right is missing",
    "42P05": "a prepared statement of another session",
    "53": "too few resources: disk, memory, connections",
    "55": "locked, or not in the state for it",
    "57": "shutting down, starting, cancelled",
    "58": "the system around the server",
    "F0": "the server's configuration",
    "XX": "the server itself",
}
#: Of these the connection is to blame, which looks healthy: it and all that were opened before it are replaced. 25006: since a
#: fail-over it leads to a server that takes no writes.
_STALE = frozenset({"0A000", "25006", "26000", "42P05"})
#: No such column, no such table: they are another version's, or there are none yet.
_OTHER_SCHEMA = frozenset({"42703", "42P01"})
_LOCK_NOT_AVAILABLE = "55P03"
#: SQLite's codes of a file that is damaged or no database.
_SQLITE_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: What SQLite says where the schema is another one; its code is that of any wrong statement.
_SQLITE_OTHER_SCHEMA = re.compile("no such (table|column)|has no column named")
#: A connection that was used less than so long ago is taken to be alive: a little more than the second between two looks at pauses.
IDLE_SECONDS = 1.5
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
            pool_use_lifo=True,  # an idle worker needs one connection, which so is never idle for long
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": "worker68",
                # Whatever PGCLIENTENCODING or the role's settings say: text may be any.
                "client_encoding": "utf8",
                # No statement is prepared: behind a transaction pooler the next one meets a session that does not know it.
                "prepare_threshold": None,
                **_KEEPALIVES,
            },
        )
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "begin", _begin_postgresql)
        event.listen(engine, "handle_error", _replace_stale)
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
    found = _endings.get(engine)
    return found if found is not None else _endings.setdefault(engine, Endings())


@contextmanager
def transaction(engine: Engine, *, lock_timeout_seconds: float | None = None) -> Iterator[Connection]:
    """Run the block in one transaction; raise ``DatabaseAway`` when the database cannot be reached or cannot write.

    ``lock_timeout_seconds``: how long a statement waits for another session's locks before ``RowsLocked`` is raised (PostgreSQL).
    """
    endings = endings_of(engine)
    with _saying_away(), _turns.get(engine, nullcontext()), engine.begin() as connection:
        if lock_timeout_seconds is not None and engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(lock_timeout_seconds * 1000)}")
        noted = endings.begin(connection)
        yield connection
    if noted:
        endings.add(noted)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Run the block, which writes nothing, without a transaction of the server's, and without taking SQLite's write lock.

    Each statement sees what is committed when it begins, as in a transaction of READ COMMITTED.
    """
    with _saying_away(), engine.connect().execution_options(worker68_reading=True) as connection:
        yield connection


@contextmanager
def _saying_away() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseAway(first_line(error)) from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise RowsLocked(first_line(error)) from error
        if _meets_other_schema(error):
            raise DatabaseUnfit(
                f"the database has not the tables of this version ({first_line(error)}): run `worker68 db upgrade`"
            ) from error
        if error.connection_invalidated or _may_pass(error):
            raise DatabaseAway(first_line(error)) from error
        raise


def _meets_other_schema(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return _SQLITE_OTHER_SCHEMA.search(str(error.orig)) is not None
    return getattr(error.orig, "sqlstate", None) in _OTHER_SCHEMA


def _may_pass(error: DBAPIError) -> bool:
    """Whether the same may succeed later, perhaps on another connection: the database is to blame, or the moment."""
    if sqlstate := getattr(error.orig, "sqlstate", None):
        return sqlstate[:2] in _PASSING or sqlstate in _PASSING
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_ERROR:  # SQLite says "operational" also of a wrong statement
        return False
    return code in _SQLITE_DAMAGED or isinstance(error, (InterfaceError, InternalError, OperationalError))


def first_line(error: Exception) -> str:
    """Return what the database said, without the lines in which PostgreSQL quotes the row: they hold message text."""
    cause: Any = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = monotonic()


def _ping_if_idle(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Replace a connection that was cut while it was idle, and all that were opened before, as ``pool_pre_ping`` does.

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


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    """Refuse a database that cannot hold every text, and leave it to ``_begin_postgresql`` to begin transactions."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):  # None: a pooler that does not say
        name = connection.info.dbname
        connection.close()
        raise DatabaseUnfit(
            f"the database {name} has the encoding {encoding}, in which not every message can be kept: make another one with "
            f"`CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0`, and set WORKER68_DATABASE_URL to it"
        )
    connection.autocommit = True


def _begin_postgresql(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("worker68_reading") and not options.get("yield_per"):  # a cursor at the server needs a transaction
        return
    # Not in the way that the transaction's own statements may ask for, with a cursor at the server.
    connection.exec_driver_sql(_BEGIN_POSTGRESQL, execution_options={"stream_results": False, "yield_per": None})


def _replace_stale(context: ExceptionContext) -> None:
    """Have a connection replaced that answers, but with errors of its own."""
    if getattr(context.original_exception, "sqlstate", None) in _STALE:
        context.is_disconnect = True


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
