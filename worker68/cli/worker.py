"""``worker68 worker`` as a command among the others: its help. ``cli/start.py`` takes a shorter way to it."""

from __future__ import annotations

import click

from worker68.cli.start import become_celery


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY WORKER OPTIONS]...")
def worker(options: tuple[str, ...]) -> None:
    """Take in jobs and run them: the same as `celery -A worker68 worker`.

    All options are Celery's own and are handed on; `celery worker --help` lists them.

    \b
    Example:
      export WORKER68_REDIS_URL=redis://127.0.0.1:6379/0 WORKER68_BRIDGE_URL=ws://127.0.0.1:5600
      worker68 worker --loglevel=info -n sender@%h
    """
    become_celery(options)
