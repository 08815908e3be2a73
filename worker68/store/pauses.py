"""The kill switch's truth: which accounts an operator has stopped, by whom and why. Each verb owns its transaction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, select, update

from worker68.store.engine import reading, transaction
from worker68.store.tables import HOLDS, INSERT, pauses, plain


@dataclass(frozen=True)
class Pause:
    """A pause that holds. ``seen_by``: the owner of the account that has taken note of it, None as long as none has."""

    id: int
    account: str
    reason: str
    paused_by: str
    paused_at: dt.datetime
    seen_by: str | None

    @property
    def words(self) -> str:
        return f"paused by {self.paused_by} since {self.paused_at:%Y-%m-%d %H:%M:%S} UTC: {self.reason}"


def pause(engine: Engine, account: str, reason: str, by: str, now: dt.datetime) -> tuple[Pause, bool]:
    """Pause an account; return the pause that holds, and whether it is a new one: the first word stays."""
    values = {"account": account, "reason": plain(reason), "paused_by": plain(by), "paused_at": now}
    with transaction(engine) as connection:
        made = connection.execute(
            INSERT[connection.dialect.name](pauses).values(values).on_conflict_do_nothing().returning(pauses.c.id)
        ).scalar()
        row = connection.execute(_holding().where(pauses.c.account == account)).one()
    return _pause(row), made is not None


def resume(engine: Engine, account: str, reason: str, by: str, now: dt.datetime) -> Pause | None:
    """End an account's pause; return it as it was, None if there was none."""
    with transaction(engine) as connection:
        row = connection.execute(_holding().where(pauses.c.account == account)).first()
        if row is None:
            return None
        connection.execute(
            update(pauses)
            .where(pauses.c.id == row.id)
            .values(resumed_at=now, resumed_by=plain(by), resume_reason=plain(reason))
        )
    return _pause(row)


def find_pause(engine: Engine, account: str) -> Pause | None:
    """Return the pause of an account, None if it is not paused."""
    with reading(engine) as connection:
        row = connection.execute(_holding().where(pauses.c.account == account)).first()
    return _pause(row) if row is not None else None


def list_pauses(engine: Engine) -> dict[str, Pause]:
    """Return all pauses that hold, by account."""
    with reading(engine) as connection:
        return {row.account: _pause(row) for row in connection.execute(_holding())}


def note_seen(engine: Engine, pause_id: int, owner: str) -> None:
    """Say that this owner has taken note of a pause, and writes nothing any more."""
    with transaction(engine) as connection:
        connection.execute(update(pauses).where(pauses.c.id == pause_id).values(seen_by=owner))


def _holding() -> Any:
    columns = (pauses.c[name] for name in Pause.__dataclass_fields__)
    return select(*columns).where(HOLDS)


def _pause(row: Row[Any]) -> Pause:
    return Pause(*(getattr(row, name) for name in Pause.__dataclass_fields__))
