"""``worker68 db``: the database's schema."""

from __future__ import annotations

import click

from worker68.settings import load_settings
from worker68.store.engine import open_engine
from worker68.store.migration import upgrade
from worker68.store.schema import VERSION, current_version, is_later


@click.group()
def db() -> None:
    """Bring the database to where this version of worker68 needs it.

    \b
    Example:
      worker68 db upgrade
    """


@db.command("upgrade")
def db_upgrade() -> None:
    """Create or change the tables; nothing is done where they are as they should be.

    \b
    Example:
      WORKER68_DATABASE_URL=postgresql+psycopg://worker68@localhost/worker68 worker68 db upgrade
    """
    url = load_settings().database_url
    engine = open_engine(url)
    try:
        before = current_version(engine)
    finally:
        engine.dispose()
    after = upgrade(url)
    if is_later(after):
        click.echo(f"the database is at version {after}, later than {VERSION}, and fit for this version of worker68")
    elif before == after:
        click.echo(f"the database is at version {after} already")
    else:
        click.echo(f"the database was {f'at version {before}' if before else 'empty'}, now it is at version {after}")
