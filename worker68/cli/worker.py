"""``worker68 worker``: becomes ``celery -A worker68 worker``, after a look whether the settings can be right at all."""

from __future__ import annotations

import os
import sys

import click

from worker68.errors import SettingsError
from worker68.settings import load_settings


@click.command(
    short_help="Take in jobs and run them.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
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
    settings = load_settings()
    settings.require_redis_url()
    if not settings.account_settings():
        raise SettingsError("no account: set WORKER68_BRIDGE_URL (account main) or WORKER68_ACCOUNTS")
    # The same process turns into Celery's: signals, exit code and restart on SIGHUP are Celery's own, not a copy of them.
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "worker68", "worker", *options])
