"""``worker68 sync`` and ``api-url``: what the bridge knows; ``request``: a call of the service in one's own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import click
import msgspec

from worker68.cli.asking import ID, ask_for, job_options

#: One call: four tries, 15 s each by default, with back-off between, and a wait for one's turn.
CALL_SECONDS: Final = 120.0
#: A list: a page takes a second by default, because of the limits. Five minutes are a group of 300 000 members.
LIST_SECONDS: Final = 600.0
#: Forty users a call, a call a second by default: an hour is a group of 140 000 members.
ONLINE_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Read:
    """What can be read: its task, how long one waits for it, and whether it needs a group or takes users."""

    task: str
    wait_seconds: float
    group: bool = False
    one_user: bool = False
    some_users: bool = False


READS: Final = {
    "profile": Read("worker68.sync_profile", CALL_SECONDS),
    "contacts": Read("worker68.sync_contacts", LIST_SECONDS),
    "contact": Read("worker68.sync_contact", CALL_SECONDS, one_user=True),
    "friend-requests": Read("worker68.sync_friend_requests", LIST_SECONDS),
    "groups": Read("worker68.sync_groups", LIST_SECONDS),
    "group": Read("worker68.sync_group", CALL_SECONDS, group=True),
    "members": Read("worker68.sync_group_members", LIST_SECONDS, group=True),
    "group-requests": Read("worker68.sync_group_requests", LIST_SECONDS),
    "online": Read("worker68.sync_online_status", ONLINE_SECONDS, group=True, some_users=True),
}


@click.command()
@click.argument("what", metavar="WHAT", type=click.Choice(list(READS)))
@click.option("--group", type=ID, help="Of which group: for group, members and online.")
@click.option("--user", "users", type=ID, multiple=True, help="Which user: for contact; repeatable for online.")
@job_options(None, f"{CALL_SECONDS:g} for one thing, {LIST_SECONDS:g} for a list, {ONLINE_SECONDS:g} for online")
def sync(what: str, group: int | None, users: tuple[int, ...], timeout: float | None, **options: Any) -> int:
    """Read what the bridge knows. WHAT is one of:

    \b
      contacts, groups, friend-requests, group-requests, members --group ID:
          a whole list, brought into the database; the reply counts what has
          changed (`worker68 snapshots show` tells what)
      profile, contact --user ID, group --group ID:
          one thing, which stands in the reply only
      online --group ID [--user ID ...]:
          who of the group is online, of all known members or of those named;
          it stands in the reply only

    A long read shows how far it has come in `worker68 jobs show`.

    \b
    Example:
      worker68 sync groups --wait
      worker68 sync members --group 389284 --wait
      worker68 sync online --group 389284 --user 7237423 --user 4017572 --wait --json
    """
    read = READS[what]
    _check_options(what, read, group, users)
    fields: dict[str, Any] = {}
    if group is not None:
        fields["group_id"] = group
    if read.one_user:
        (fields["user_id"],) = users
    elif users:
        fields["user_ids"] = users
    return ask_for(read.task, fields, timeout=timeout or read.wait_seconds, **options)


@click.command("api-url")
@job_options(CALL_SECONDS)
def api_url(**options: Any) -> int:
    """Ask the bridge for the address of the service's API, which changes over time.

    \b
    Example:
      worker68 api-url --wait
    """
    return ask_for("worker68.get_api_url", {}, **options)


@click.command()
@click.argument("type_", metavar="TYPE")
@click.argument("path")
@click.option("--data", metavar="JSON", help="The call's data, a JSON object.")
@click.option("--proto-type", help="What calls about a group's members need: group.")
@job_options(CALL_SECONDS)
def request(type_: str, path: str, data: str | None, proto_type: str | None, **options: Any) -> int:
    """Make a call of the service's HTTP API through the logged-in client, in your own words.

    PATH must be one of the account's ALLOWED_PATHS, by default those that are documented. A call that is not documented is made
    once: if no reply comes, the job is in doubt.

    \b
    Example:
      worker68 request GroupDetail /group/groupDetail --data '{"groupId": 389284}' --wait --json
    """
    fields = {"type": type_, "path": path, "data": _read_object(data), "proto_type": proto_type}
    given = {name: value for name, value in fields.items() if value is not None}
    return ask_for("worker68.request", given, **options)


def _check_options(what: str, read: Read, group: int | None, users: tuple[int, ...]) -> None:
    problems = []
    if read.group != (group is not None):
        problems.append(f"{what} needs --group ID" if read.group else f"{what} takes no --group")
    if read.one_user and len(users) != 1:
        problems.append(f"{what} needs --user ID{', once' if users else ''}")
    if users and not (read.one_user or read.some_users):
        problems.append(f"{what} takes no --user")
    if problems:
        raise click.UsageError("; ".join(problems))


def _read_object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise click.UsageError(f"--data: expected a JSON object like '{{\"groupId\": 389284}}': {error}") from None
