"""How a database gets to the version of the schema that this code needs: Alembic, which is imported here alone."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

import worker68
from worker68.errors import SettingsError
from worker68.store.engine import open_engine, reading
from worker68.store.schema import current_version

#: Beside the package, in a checkout and in the container alike.
MIGRATIONS = Path(worker68.__file__).resolve().parent.parent / "migrations"


def upgrade(database_url: str) -> str:
    """Bring the database to the newest version and return that version's id. Raises ``DatabaseAway``."""
    config = configure(database_url)
    engine = open_engine(database_url)
    try:
        with reading(engine):
            pass
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            found = current_version(engine)
            raise SettingsError(
                f"the database is at version {found}, which this worker68 does not know: use the newer one ({error})"
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
