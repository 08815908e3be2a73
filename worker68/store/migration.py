"""How a database gets to the version of the schema that this code needs: Alembic, which is imported here alone."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

import worker68
from worker68.errors import RowsLocked, SettingsError
from worker68.store.engine import open_engine, reading
from worker68.store.schema import current_version, is_later

#: Beside the package, in a checkout and in the container alike.
MIGRATIONS = Path(worker68.__file__).resolve().parent.parent / "migrations"

#: A migration waits so long for a table that a long statement holds (a dump, say): all workers would wait behind it.
LOCK_TIMEOUT_SECONDS = 5.0


def upgrade(database_url: str) -> str:
    """Bring the database to the newest version, if it is not at a later one, and return its version. Raises ``DatabaseAway``.

    It waits for a lock for a moment only, and raises ``RowsLocked`` then.
    """
    config = configure(database_url)
    engine = open_engine(database_url)
    try:
        found = current_version(engine)
        if found is not None and is_later(found):
            return found
        try:
            with reading(engine):  # for the errors that it raises; Alembic has a connection of its own
                command.upgrade(config, "head")
        except RowsLocked as locked:
            raise RowsLocked(f"another session holds a table, a dump perhaps: run this again ({locked})") from None
        except CommandError as error:
            raise SettingsError(
                f"the database is at version {found}, which this worker68 does not know ({error})"
            ) from None
        return current_version(engine) or ""
    finally:
        engine.dispose()


def configure(database_url: str) -> Config:
    """Return Alembic's configuration for this database."""
    if not MIGRATIONS.is_dir():
        raise SettingsError(f"the migrations are not beside the package: expected {MIGRATIONS.name}/ next to worker68/")
    config = Config(str(MIGRATIONS.parent / "alembic.ini"))
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config
