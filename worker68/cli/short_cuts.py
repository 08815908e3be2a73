"""``worker68 worker`` and ``health`` as commands among the others: their help. ``cli/start.py`` takes a shorter way to both."""

from __future__ import annotations

import click

from worker68.cli import health as looking
from worker68.cli.output import JSON
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


@click.command()
@JSON
def health(as_json: bool) -> int:
    """Say whether the worker of this host is well: exit code 0 if it is, 1 if not.

    With HEALTH_FILE it looks how old the file is: a worker touches it every 5 s while it is well. Without it, it asks Redis whether
    a worker of this host has said within 20 s that it is well. It is quick enough for a health check every few seconds.

    \b
    Example:
      worker68 health --json
    """
    return looking.main(as_json)
