"""The database as the commands see it.

In: the settings. Out: an engine for a database that is there, closed at the command's end. Never: a SQLite file made by looking.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from worker68.settings import Settings
from worker68.store.engine import Engine
from worker68.store.reports import open_ledger


@contextmanager
def open_database(settings: Settings) -> Iterator[Engine]:
    """Yield an engine for the database that is there. Raises ``DatabaseAway``."""
    engine = open_ledger(settings.database_url)
    try:
        yield engine
    finally:
        engine.dispose()
