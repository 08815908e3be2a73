"""The do-not-contact list: chats to which nothing is sent, looked at when a job arrives and again when its turn has come."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select, tuple_

from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, failed
from worker68.store.tables import suppressions

#: An account, and the type and id of a chat.
ChatKey = tuple[str, str, int]


def find_suppressed(connection: Connection, chats: Collection[ChatKey]) -> set[ChatKey]:
    """Return those of the chats that are on the list."""
    if not chats:
        return set()
    columns = (suppressions.c.account, suppressions.c.chat_type, suppressions.c.chat_id)
    rows = connection.execute(select(*columns).where(tuple_(*columns).in_(chats)))
    return {(row.account, row.chat_type, row.chat_id) for row in rows}


def is_suppressed(connection: Connection, job: Job) -> bool:
    """Say whether the job has a message to send to a chat that is on the list: then its earlier steps are not made either."""
    chat = job.chat
    return (
        chat is not None
        and job.kind.sends(job.fields)
        and bool(find_suppressed(connection, {(job.account, chat.type, chat.id)}))
    )


def suppressed_outcome() -> Outcome:
    return failed(ErrorCode.SUPPRESSED, "the chat is on the do-not-contact list")
