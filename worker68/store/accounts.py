"""The accounts that stand in the database: their tables of settings, and how far their owners have come with a change.

Each verb owns its transaction. All changes are made one after the other, and counted: so what has a greater version than the
greatest that was read before is all that is new. Never: a row deleted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, func, select, update

from worker68.store.engine import reading, transaction
from worker68.store.tables import INSERT, accounts, plain

T = TypeVar("T")

#: Another operator's change takes some milliseconds.
LOCK_SECONDS: Final = 5.0


@dataclass(frozen=True)
class AccountRow:
    """An account as it stands in the database.

    ``taken``: the version under which an owner has opened it last; ``left_bridges``: the bridges that it had since then.
    """

    name: str
    version: int
    settings: Mapping[str, Any]
    changed_at: dt.datetime
    changed_by: str
    removed_at: dt.datetime | None = None
    taken: int | None = None
    left_bridges: tuple[str, ...] = ()

    @property
    def is_taken(self) -> bool:
        """Whether an owner has opened it as it stands there."""
        return self.taken == self.version


def newest_version(engine: Engine) -> int:
    """Return the greatest version of all accounts, 0 where there was never one."""
    with reading(engine) as connection:
        return connection.scalar(select(func.max(accounts.c.version))) or 0


def read_accounts(engine: Engine, after: int = 0) -> list[AccountRow]:
    """Return the accounts that were changed after this version, also removed ones, in the order of their changes."""
    with reading(engine) as connection:
        return _read(connection, after)


def change_account(
    engine: Engine,
    name: str,
    decide: Callable[[Mapping[str, AccountRow]], Mapping[str, Any] | None],
    by: str,
    now: dt.datetime,
) -> AccountRow:
    """Change one account as ``decide`` says of all that there are: its new table, None to remove it. Return its new row.

    What ``decide`` raises is raised, and nothing is changed. Nobody else changes an account meanwhile.
    """
    with transaction(engine, lock_timeout_seconds=LOCK_SECONDS) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE")
        rows = {row.name: row for row in _read(connection, 0)}
        settings = decide(rows)
        before = rows.get(name)
        after = AccountRow(
            name,
            max((row.version for row in rows.values()), default=0) + 1,
            settings or {},
            now,
            plain(by),
            now if settings is None else None,
            before.taken if before is not None else None,
            _left_bridges(before, settings),
        )
        values = {field: getattr(after, field) for field in AccountRow.__dataclass_fields__}
        values |= {field: msgspec.json.encode(values[field]).decode() for field in ("settings", "left_bridges")}
        insert = INSERT[connection.dialect.name](accounts).values(values)
        connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))
    return after


def note_taken(engine: Engine, name: str, version: int) -> None:
    """Say that an owner opens the account as this version has it: whoever owned it before has closed its connection."""
    with transaction(engine, lock_timeout_seconds=LOCK_SECONDS) as connection:
        same = (accounts.c.name == name, accounts.c.version == version)
        connection.execute(update(accounts).where(*same).values(taken=version, left_bridges="[]"))


def _read(connection: Connection, after: int) -> list[AccountRow]:
    columns = [accounts.c[field] for field in AccountRow.__dataclass_fields__]
    rows = connection.execute(select(*columns).where(accounts.c.version > after).order_by(accounts.c.version))
    return [_row(row._asdict()) for row in rows]


def _row(values: dict[str, Any]) -> AccountRow:
    """Return a row. What is no JSON of its kind, written by hand, is empty: so the row is wrong, and costs only itself."""
    settings = _decode(values["settings"], dict[str, Any]) or {}
    left = _decode(values["left_bridges"], tuple[str, ...]) or ()
    return AccountRow(**{**values, "settings": settings, "left_bridges": left})


def _decode(text: str, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None


def _left_bridges(before: AccountRow | None, settings: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the bridges to which an owner may still be connected that has not taken the newest change yet."""
    if before is None:
        return ()
    left = [] if before.is_taken else list(before.left_bridges)
    old, new = before.settings.get("bridge_url"), (settings or {}).get("bridge_url")
    return tuple(dict.fromkeys(url for url in (*left, old) if url is not None and url != new))
