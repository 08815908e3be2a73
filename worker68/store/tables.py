"""The tables. ``jobs``, the five lists, ``snapshots`` and ``snapshot_changes`` may be read by others (contract, section 5).

JSON is kept as text, not in a JSON type: PostgreSQL's refuses the escape of NUL, which a producer may send.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A point in time in UTC, with its offset on both sides; SQLite, which knows no offsets, keeps it without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without an offset: {value!r}")
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        when: dt.datetime = value
        return when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)


#: The INSERT of each database that knows ON CONFLICT, by its dialect.
INSERT: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

#: ``jobs.bridge_code`` at most; the bridge's are numbers, but that is no promise.
BRIDGE_CODE_LENGTH = 40


def plain(words: str) -> str:
    """Return foreign words as both databases can hold them: PostgreSQL's text has no NUL, and UTF-8 no half of a surrogate pair."""
    return words.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


#: SQLite counts rows up by itself only in a column that is exactly INTEGER.
SERIAL = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    #: The order of arrival.
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("job_id", String(255), nullable=False),
    Column("account", String(64), nullable=False),
    Column("task", String(200), nullable=False),
    Column("chat_type", String(6)),
    Column("chat_id", BigInteger),
    Column("lane", String(120), nullable=False),
    Column("job_class", SmallInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("ordered", Boolean, nullable=False),
    Column("state", String(8), nullable=False),
    Column("status", String(9)),
    Column("error_code", String(20)),
    Column("error_message", Text),
    Column("bridge_code", String(BRIDGE_CODE_LENGTH)),
    #: In words: why it waits, or why it ended without an attempt.
    Column("reason", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    #: How many of its steps are done (a change that is announced has two), their result as JSON, and their attempts.
    Column("step", SmallInteger, nullable=False, server_default="0"),
    Column("done", Text),
    Column("attempts_before", Integer, nullable=False, server_default="0"),
    #: In words: how far a long attempt has come.
    Column("progress", Text),
    Column("custom_msg_id", BigInteger),
    Column("received_at", UtcDateTime, nullable=False),
    #: Not before this; null when it may run at once.
    Column("due_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("content_hash", String(64), nullable=False),
    Column("fields", Text, nullable=False),
    Column("result", Text),
    Column("revision", Integer, nullable=False, server_default="0"),
    #: Who has begun the attempt, and under which fencing number of the account.
    Column("owner", String(128)),
    Column("fence", BigInteger),
    #: The message as it was taken in, until the job ends.
    Column("envelope", Text),
    UniqueConstraint("account", "job_id"),
    UniqueConstraint("account", "custom_msg_id"),
    # A number is not used again, also where its row was replaced.
    sqlite_autoincrement=True,
)
#: The lane of jobs whose task is unknown: it never runs.
PARKED_LANE: Final = "parked"
#: Who stands in which index. A query finds the index only where it has these very words, not parameters.
#: In its lane: due, or tried and backing off in its place.
IN_LANE = text("(state = 'ready' OR (state = 'deferred' AND attempts > 0))")
#: The same for a question that names no lane: else SQLite takes an index of all jobs of the account for as good as that of these.
IN_ANY_LANE = and_(IN_LANE, jobs.c.lane >= "")
#: Not due yet, or its task is unknown (lane ``parked``).
NOT_DUE = text("(state = 'deferred' AND attempts = 0)")
PARKED = text("(state = 'deferred' AND lane = 'parked')")
MAY_EXPIRE = text("(state IN ('ready', 'deferred') AND expires_at IS NOT NULL)")
SENDING = text("(state = 'sending')")
Index(
    "ix_jobs_in_lane",
    jobs.c.account,
    jobs.c.lane,
    jobs.c.step.desc(),
    jobs.c.priority,
    jobs.c.seq,
    postgresql_where=IN_LANE,
    sqlite_where=IN_LANE,
)
Index("ix_jobs_not_due", jobs.c.account, jobs.c.due_at, postgresql_where=NOT_DUE, sqlite_where=NOT_DUE)
Index("ix_jobs_parked", jobs.c.account, jobs.c.seq, postgresql_where=PARKED, sqlite_where=PARKED)
Index("ix_jobs_expiry", jobs.c.account, jobs.c.expires_at, postgresql_where=MAY_EXPIRE, sqlite_where=MAY_EXPIRE)
Index("ix_jobs_sending", jobs.c.account, postgresql_where=SENDING, sqlite_where=SENDING)

#: Each Celery message that asked for a job: the first one, and those that came with the same idempotency key and content.
requesters = Table(
    "requesters",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("seq", ForeignKey("jobs.seq", ondelete="CASCADE"), nullable=False, index=True),
    Column("task_id", String(255), nullable=False, index=True),
    #: Empty: no reply is published.
    Column("reply_to", String(108), nullable=False),
    Column("metadata", Text),
    Column("ignore_result", Boolean, nullable=False),
    UniqueConstraint("seq", "task_id", "reply_to"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("seq", ForeignKey("jobs.seq", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    #: Which of the job's steps was tried, from 0.
    Column("step", SmallInteger, nullable=False, server_default="0"),
    Column("owner", String(128), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("began_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    #: How it ended: a status or an error code.
    Column("ending", String(20)),
    UniqueConstraint("seq", "number"),
)

#: What is to be published; a row is deleted once Redis has it.
outbox = Table(
    "outbox",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("account", String(64), nullable=False),
    #: ``reply`` (address: the ``reply_to``), ``result`` and ``deferred`` (the Celery id), ``dead`` (empty).
    Column("kind", String(8), nullable=False),
    Column("address", String(255), nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

#: What Redis refuses for good, moved here from the outbox so that it holds nothing else up. Each is tried again when due.
refused = Table(
    "refused",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("account", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("address", String(255), nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    #: In Redis's words: why.
    Column("problem", Text, nullable=False),
    #: How often it was refused so far.
    Column("refusals", Integer, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Index("ix_refused_due", "due_at"),
    Index("ix_refused_address", "address"),
    Index("ix_refused_account_due", "account", "due_at", "id"),
)

#: Celery ids that were revoked before any job with them was seen.
cancellations = Table(
    "cancellations",
    metadata,
    Column("task_id", String(255), primary_key=True),
    Column("cancelled_at", UtcDateTime, nullable=False),
    Index("ix_cancellations_cancelled_at", "cancelled_at"),
)

#: The do-not-contact list: chats to which nothing is sent.
suppressions = Table(
    "suppressions",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("chat_type", String(6), primary_key=True),
    Column("chat_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

#: Accounts that an operator has stopped, and when they went on again: the kill switch, and its history.
pauses = Table(
    "pauses",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("account", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("paused_by", String(255), nullable=False),
    Column("paused_at", UtcDateTime, nullable=False),
    #: The owner that has taken note: from then on it writes nothing.
    Column("seen_by", String(128)),
    Column("resumed_at", UtcDateTime),
    Column("resumed_by", String(255)),
    Column("resume_reason", Text),
)
HOLDS = text("(resumed_at IS NULL)")
Index("uq_pauses_account", pauses.c.account, unique=True, postgresql_where=HOLDS, sqlite_where=HOLDS)

#: Accounts beside those of the settings. One that was removed keeps its row: only what a row says makes an account go.
accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    #: Counts all changes of all accounts: what is above the greatest that a worker has read is new to it.
    Column("version", BigInteger, nullable=False),
    #: The account's table of the settings, as JSON; empty once it is removed.
    Column("settings", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(255), nullable=False),
    Column("removed_at", UtcDateTime),
    #: The version under which an owner has opened it last.
    Column("taken", BigInteger),
    #: JSON, the bridges that it had since then: its owner may still be connected to one of them.
    Column("left_bridges", Text, nullable=False),
    UniqueConstraint("version"),
)


def _list(name: str, *columns: Column[Any]) -> Table:
    """A list of an account, as its last applied snapshots left it. A row says when it changed last, and since when it is gone."""
    account = Column("account", String(64), primary_key=True)
    since = (Column("updated_at", UtcDateTime, nullable=False), Column("removed_at", UtcDateTime))
    return Table(name, metadata, account, *columns, *since)


def _id(name: str) -> Column[Any]:
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


contacts = _list(
    "contacts",
    _id("user_id"),
    Column("name", Text, nullable=False),
    Column("handle", Text),
    Column("icon", Text),
    Column("friend", Boolean, nullable=False),
)

groups = _list(
    "groups",
    _id("group_id"),
    Column("name", Text, nullable=False),
    Column("host_id", BigInteger),
    Column("member_count", BigInteger),
    #: The account's own role: ``host``, ``admin``, ``member``.
    Column("role", String(6)),
    Column("muted", Boolean),
    Column("notice", Text),
)

group_members = _list(
    "group_members",
    _id("group_id"),
    _id("user_id"),
    Column("name", Text, nullable=False),
    Column("icon", Text),
    Column("role", String(6)),
    Column("friend", Boolean, nullable=False),
)

friend_requests = _list(
    "friend_requests",
    _id("user_id"),
    Column("name", Text, nullable=False),
    Column("handle", Text),
    Column("icon", Text),
    Column("message", Text),
    Column("kind", Text),
    Column("requested_at", UtcDateTime),
)

group_requests = _list(
    "group_requests",
    #: Below 0: a row of a version that did not know the service's number of the request.
    _id("request_id"),
    #: 0 where the bridge names no group.
    _id("group_id"),
    #: Who asks or invites, and whom it is about.
    Column("user_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("target_id", BigInteger),
    Column("target_name", Text),
    Column("group_name", Text),
    Column("host_id", BigInteger),
    Column("kind", Text),
    #: ``open``, ``agreed``, ``refused``, ``expired``.
    Column("status", Text),
    Column("message", Text),
    Column("requested_at", UtcDateTime),
    Column("changed_at", UtcDateTime),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("account", String(64), nullable=False),
    #: The table of the list.
    Column("kind", String(16), nullable=False),
    #: The group whose members they are; null for the lists of the whole account.
    Column("subject_id", BigInteger),
    Column("taken_at", UtcDateTime, nullable=False),
    Column("count", Integer, nullable=False),
    Column("complete", Boolean, nullable=False),
    #: False when a suspicious shrink kept it from the current state; ``note`` says so.
    Column("applied", Boolean, nullable=False),
    Column("note", Text),
    Column("added", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Index("ix_snapshots_subject", "account", "kind", "subject_id"),
)

snapshot_changes = Table(
    "snapshot_changes",
    metadata,
    # No foreign key: checking each of 100,000 rows took PostgreSQL longer than writing them. They are written in the
    # transaction that writes their snapshot, and never alone.
    Column("snapshot_id", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", BigInteger, primary_key=True, autoincrement=False),
    #: The group of a request about one; 0 in the other lists.
    Column("group_id", BigInteger, primary_key=True, autoincrement=False, server_default="0"),
    Column("change", String(7), nullable=False),
    #: JSON objects of the fields that differ; null where there was or is no row.
    Column("old", Text),
    Column("new", Text),
    # Written in the order of the key, and only read in it: one tree in place of two.
    sqlite_with_rowid=False,
)
