"""What the relay is to publish next, and where replies went lately. How it gets into the outbox: ``statements/outbox.py``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Engine, or_, select

from worker68.store.engine import reading
from worker68.store.statements.outbox import OutboxEntry
from worker68.store.tables import outbox, requesters


def fetch(
    engine: Engine, owned: Sequence[str], others: Sequence[str] | None, stale_before: dt.datetime, limit: int
) -> list[OutboxEntry]:
    """Return the oldest entries that this worker is to publish: those of the accounts that it owns.

    With ``others`` (the accounts that have an owner elsewhere; given to the owner of the front door) also those of accounts that
    the settings do not have, and any that were left lying since before ``stale_before``.
    """
    query = select(outbox.c.id, outbox.c.account, outbox.c.kind, outbox.c.address, outbox.c.payload)
    ours: ColumnElement[bool] = outbox.c.account.in_(owned)
    if others is not None:
        ours = or_(ours, outbox.c.account.not_in(others), outbox.c.created_at < stale_before)
    with reading(engine) as connection:
        rows = connection.execute(query.where(ours).order_by(outbox.c.id).limit(limit))
        return [OutboxEntry(*row) for row in rows]


def find_latest_addresses(engine: Engine, limit: int) -> list[str]:
    """Return the addresses of so many of the newest requesters, each once, the newest last."""
    newest = select(requesters.c.reply_to).order_by(requesters.c.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [address for address in dict.fromkeys(connection.execute(newest).scalars()) if address][::-1]
