"""Alembic's environment: which database, and which tables are wanted there."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, event

from worker68.settings import load_settings
from worker68.store import migration
from worker68.store.engine import open_engine
from worker68.store.tables import UtcDateTime, metadata


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our time type as the plain one beneath it: a migration must not change when our code does."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def limit_lock_waits(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(migration.LOCK_TIMEOUT_SECONDS * 1000)}")


url = context.config.attributes.get("database_url") or load_settings().database_url
engine = open_engine(url)
if engine.dialect.name == "postgresql":
    event.listen(engine, "begin", limit_lock_waits)
try:
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=engine.dialect.name == "sqlite",
            compare_type=True,
            render_item=render_item,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
finally:
    engine.dispose()
