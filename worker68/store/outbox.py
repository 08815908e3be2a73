"""What the relay is to publish next, and where replies went lately. How it gets into the outbox: ``statements/outcomes.py``."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, bindparam, not_, or_, select

from worker68.store.engine import reading
from worker68.store.statements.batches import one_of, pack_texts
from worker68.store.statements.outcomes import OutboxEntry
from worker68.store.tables import outbox, requesters


def fetch(
    engine: Engine, owned: Iterable[str], others: Iterable[str] | None, stale_before: dt.datetime, limit: int
) -> list[OutboxEntry]:
    """Return the oldest entries that this worker is to publish: those of the accounts that it owns.

    With ``others`` (the accounts that have an owner elsewhere; given to the owner of the front door) also those of accounts that
    the settings do not have, and any that were left lying since before ``stale_before``.
    """
    given: dict[str, Any] = {"owned": pack_texts(owned), "limit": limit}
    if others is not None:
        given |= {"others": pack_texts(others), "stale_before": stale_before}
    with reading(engine) as connection:
        return [OutboxEntry(*row) for row in connection.execute(_fetch(engine.dialect.name, others is not None), given)]


@functools.cache
def _fetch(dialect: str, owns_front: bool) -> Select[Any]:
    """Asked for each few jobs, and each account is named in it: so they are one parameter."""
    ours: ColumnElement[bool] = one_of(dialect, outbox.c.account, "owned")
    if owns_front:
        left_lying = outbox.c.created_at < bindparam("stale_before", type_=outbox.c.created_at.type)
        ours = or_(ours, not_(one_of(dialect, outbox.c.account, "others")), left_lying)
    query = select(outbox.c.id, outbox.c.account, outbox.c.kind, outbox.c.address, outbox.c.payload)
    return query.where(ours).order_by(outbox.c.id).limit(bindparam("limit"))


def find_latest_addresses(engine: Engine, limit: int) -> list[str]:
    """Return the addresses of so many of the newest requesters, each once, the newest last."""
    newest = select(requesters.c.reply_to).order_by(requesters.c.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [address for address in dict.fromkeys(connection.execute(newest).scalars()) if address][::-1]
