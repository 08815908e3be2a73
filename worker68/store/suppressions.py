"""The do-not-contact list: chats to which nothing is sent, looked at when a job arrives and again when its turn has come."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, Select, and_, select

from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, failed
from worker68.store.batches import batch_of, pack
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
    columns = (suppressions.c.account, suppressions.c.chat_type, suppressions.c.chat_id)
    batch = batch_of(dialect, *columns).c
    same = and_(*(batch[each.name] == each for each in columns))
    return select(*columns).where(same)


def find_barred(connection: Connection, waiting: Sequence[Job]) -> set[int]:
    """Return the jobs that have a message to send to a chat that is on the list: their earlier steps are not made either."""
    chats = {job.seq: (job.account, job.chat.type, job.chat.id) for job in waiting if job.chat and job.sends}
    if not chats or connection.execute(_ANY).first() is None:
        return set()
    suppressed = find_suppressed(connection, set(chats.values()))
    return {seq for seq, chat in chats.items() if chat in suppressed}


#: Most lists are empty, and most jobs are begun: one look that costs nothing spares them the search.
_ANY: Final = select(suppressions.c.chat_id).limit(1)


def suppressed_outcome() -> Outcome:
    return failed(ErrorCode.SUPPRESSED, "the chat is on the do-not-contact list")
