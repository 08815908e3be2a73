"""The database as the commands see it: opened by the settings, closed at the command's end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from worker68.settings import Settings, load_settings
from worker68.store.engine import Engine
from worker68.store.reports import open_ledger


@contextmanager
def open_database(settings: Settings | None = None) -> Iterator[Engine]:
    """Yield an engine for the database that is there. Raises ``DatabaseAway``."""
    engine = open_ledger((settings or load_settings()).database_url)
    try:
        yield engine
    finally:
        engine.dispose()
