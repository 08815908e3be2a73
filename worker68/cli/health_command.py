"""``worker68 health`` as a command among the others: its options and its help. ``cli/start.py`` takes a shorter way to it."""

from __future__ import annotations

import click

from worker68.cli import health as looking


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def health(as_json: bool) -> int:
    """Say whether the worker of this host is well: exit code 0 if it is, 1 if not.

    With HEALTH_FILE it looks how old the file is: a worker touches it every 5 s while it is well. Without it, it asks Redis whether
    a worker of this host has said within 20 s that it is well. It is quick enough for a health check every few seconds.

    \b
    Example:
      worker68 health --json
    """
    return looking.main(as_json)
