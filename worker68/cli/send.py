"""``worker68 send``, ``mute``, ``notice`` and ``restart-client``: what writes, changes a group, or restarts the client."""

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


@click.command()
@click.option("--group", type=ID, required=True, help="In which group.")
@click.option("--user", type=ID, help="Mute this member, for --seconds.")
@click.option("--seconds", type=click.IntRange(0, 2**31 - 1), help="For how long; 0 lifts the member's mute.")
@click.option("--all", "whole_group", is_flag=True, help="Mute the whole group.")
@click.option("--off", is_flag=True, help="Lift the mute of the whole group.")
@click.option(
    "--announce/--no-announce",
    default=None,
    help="Announce the change in the group, with --all and --off.  [default: announce]",
)
@click.option("--text", help="The announcement's text.  [default: the words of the 68 client]")
@job_options("worker68.mute_group")
def mute(
    group: int,
    user: int | None,
    seconds: int | None,
    whole_group: bool,
    off: bool,
    announce: bool | None,
    text: str | None,
    **options: Any,
) -> int:
    """Mute a member of a group for some seconds, or the whole group, or lift it.

    A mute of the whole group is announced in it, unless that is not wanted; a member's mute is not.

    \b
    Example:
      worker68 mute --group 441298 --user 7128348 --seconds 600 --wait
      worker68 mute --group 441298 --all --text "Back at nine." --wait
      worker68 mute --group 441298 --off --no-announce
    """
    is_member = user is not None or seconds is not None
    if is_member + whole_group + off != 1:
        raise click.UsageError("give one of: --user ID with --seconds N, --all, --off")
    if is_member:
        if user is None or seconds is None:
            raise click.UsageError("--user ID and --seconds N belong together; 0 seconds lift the mute")
        if announce is not None or text is not None:
            raise click.UsageError("only --all and --off are announced: leave out --announce, --no-announce and --text")
        return ask_for("worker68.mute_member", {"group_id": group, "user_id": user, "seconds": seconds}, **options)
    if announce is False and text is not None:
        raise click.UsageError("--text is the announcement's: it does not go with --no-announce")
    fields: dict[str, Any] = {"group_id": group, "muted": whole_group, "announce": announce is not False}
    if text is not None:
        fields["announcement_text"] = text
    return ask_for("worker68.mute_group", fields, **options)


@click.command()
@click.option("--group", type=ID, required=True, help="Whose notice.")
@click.option("--announce/--no-announce", default=True, show_default=True, help="Announce the notice in the group.")
@click.argument("text")
@job_options("worker68.set_group_notice")
def notice(group: int, announce: bool, text: str, **options: Any) -> int:
    """Set the notice of a group to TEXT, and announce it there.

    TEXT may have several lines. Put -- before a TEXT that begins with a dash.

    \b
    Example:
      worker68 notice --group 389284 "Closed on Friday." --wait
    """
    return ask_for("worker68.set_group_notice", {"group_id": group, "notice": text, "announce": announce}, **options)


@click.command("restart-client")
@job_options("worker68.restart_client")
def restart_client(**options: Any) -> int:
    """Restart an account's 68 client: done when it says Hello again, logged in to its server or not yet.

    It begins when no send or change of the account is under way; the account's other jobs wait meanwhile, and none of them fails.

    \b
    Example:
      worker68 restart-client --account main --wait
    """
    return ask_for("worker68.restart_client", {}, **options)
