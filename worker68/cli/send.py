"""``worker68 send``: a text or a file to a group or a friend."""

from __future__ import annotations

from typing import Any

import click

from worker68.cli.asking import ID, ask_for, job_options


@click.command()
@click.option("--group", type=ID, help="The group to write to.")
@click.option("--friend", type=ID, help="The friend to write to.")
@click.option(
    "--file", "path", metavar="PATH", help="Send this file of the bridge's machine, below ALLOWED_FILE_ROOTS."
)
@click.argument("text", required=False)
@job_options("worker68.send_message")
def send(group: int | None, friend: int | None, path: str | None, text: str | None, **options: Any) -> int:
    """Send TEXT, or a file, to a group or a friend.

    Prints the task id; with --wait, how it ended. Put -- before a TEXT that begins with a dash.

    \b
    Example:
      worker68 send --group 389284 "hello" --wait
      worker68 send --friend 7237423 --file "C:/outbox/price list.pdf" --wait
    """
    if (group is None) == (friend is None):
        raise click.UsageError("give either --group ID or --friend ID")
    if (text is None) == (path is None):
        raise click.UsageError("give either TEXT or --file PATH")
    chat = {"type": "friend", "id": friend} if group is None else {"type": "group", "id": group}
    if path is not None:
        return ask_for("worker68.send_file", {"chat": chat, "path": path}, **options)
    return ask_for("worker68.send_message", {"chat": chat, "text": text}, **options)
