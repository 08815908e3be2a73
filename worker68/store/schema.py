"""The schema's version: is the database where this code needs it to be? How it gets there is ``migration``."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, inspect, text

from worker68.errors import DatabaseUnfit
from worker68.store.engine import reading

#: The newest of the migrations. Written down here, and not asked of Alembic: importing it and reading the migrations took a
#: tenth of a worker's start.
VERSION: Final = "0007"


def check_version(engine: Engine) -> None:
    """Raise ``DatabaseUnfit`` when the database has not the version that this code needs, or a later one.

    A later one does: a migration leaves what the version before it uses as it was, so that workers of both run beside each other.
    """
    found = current_version(engine)
    if found != VERSION and not is_later(found):
        state = "has no tables yet" if found is None else f"is at version {found}, not at {VERSION}"
        raise DatabaseUnfit(f"the database {state}: run `worker68 db upgrade`")


def is_later(version: str | None) -> bool:
    """Whether a database at this version was migrated by a newer worker68 than this one."""
    return version is not None and version.isdecimal() and int(version) > int(VERSION)


def current_version(engine: Engine) -> str | None:
    """Return the version of the database's schema, None if it has none."""
    with reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return version
