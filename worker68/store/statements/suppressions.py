"""The do-not-contact list: chats to which nothing is sent, looked at when a job arrives and again when its turn has come."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Exists, Select, exists, select

from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, failed
from worker68.store.statements.batches import batch_of, look_up, pack, same
from worker68.store.tables import suppressions

#: An account, and the type and id of a chat.
ChatKey = tuple[str, str, int]


def find_suppressed(connection: Connection, chats: Collection[ChatKey]) -> set[ChatKey]:
    """Return those of the chats that are on the list."""
    if not chats:
        return set()
    dialect = connection.dialect.name
    asked = ({"account": account, "chat_type": type_, "chat_id": id_} for account, type_, id_ in chats)
    rows = connection.execute(_find(dialect), pack(dialect, asked))
    return {(row.account, row.chat_type, row.chat_id) for row in rows}


@functools.cache
def _find(dialect: str) -> Select[tuple[str, str, int]]:
    key = (suppressions.c.account, suppressions.c.chat_type, suppressions.c.chat_id)
    batch = batch_of(dialect, *key)
    found, listed = look_up(dialect, batch, suppressions, same(batch.c, *key))
    return select(listed.account, listed.chat_type, listed.chat_id).select_from(found)


def is_suppressed(account: Any, chat_type: Any, chat_id: Any) -> Exists:
    """Return the condition that a chat, given by columns, is on the list; it is not where they are null."""
    listed = suppressions.c
    return exists().where(listed.account == account, listed.chat_type == chat_type, listed.chat_id == chat_id)


def find_barred(connection: Connection, waiting: Sequence[Job]) -> set[int]:
    """Return the jobs that have a message to send to a chat that is on the list: their earlier steps are not made either."""
    chats = {job.seq: (job.account, job.chat.type, job.chat.id) for job in waiting if job.chat and job.sends}
    suppressed = find_suppressed(connection, set(chats.values()))
    return {seq for seq, chat in chats.items() if chat in suppressed}


def suppressed_outcome() -> Outcome:
    return failed(ErrorCode.SUPPRESSED, "the chat is on the do-not-contact list")
