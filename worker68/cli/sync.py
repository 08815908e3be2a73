"""``worker68 sync`` and ``api-url``: what the bridge knows; ``request``: a call of the service in one's own words."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from worker68.cli.asking import ID, ask_for, job_options
from worker68.jobs.task import Task
from worker68.tasks import TASKS

#: What ``worker68 sync`` calls each task that reads.
READS: Final = {task.sync_name: task for task in TASKS.values() if task.sync_name is not None}


def _takes(task: Task, name: str) -> bool:
    return name in {field.name for field in msgspec.structs.fields(task.fields)}


def _waits() -> str:
    waits = sorted({task.wait_seconds for task in READS.values()})
    return f"by what is read, {waits[0]:g} to {waits[-1]:g}"


@click.command()
@click.argument("what", metavar="WHAT", type=click.Choice(list(READS)))
@click.option("--group", type=ID, help="Of which group: for group, members and online.")
@click.option("--user", "users", type=ID, multiple=True, help="Which user: for contact; repeatable for online.")
@job_options(None, _waits())
def sync(what: str, group: int | None, users: tuple[int, ...], timeout: float | None, **options: Any) -> int:
    """Read what the bridge knows. WHAT is one of:

    \b
      contacts, groups, friend-requests, group-requests, members --group ID:
          a whole list, brought into the database; the reply counts what has
          changed (`worker68 snapshots show` lists it)
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
    if _takes(read, "user_id"):
        (fields["user_id"],) = users
    elif users:
        fields["user_ids"] = users
    return ask_for(read.name, fields, timeout=timeout or read.wait_seconds, **options)


@click.command("api-url")
@job_options("worker68.get_api_url")
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
@job_options("worker68.request")
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


def _check_options(what: str, read: Task, group: int | None, users: tuple[int, ...]) -> None:
    problems = []
    of_group, one_user = _takes(read, "group_id"), _takes(read, "user_id")
    if of_group != (group is not None):
        problems.append(f"{what} needs --group ID" if of_group else f"{what} takes no --group")
    if one_user and len(users) != 1:
        problems.append(f"{what} needs --user ID{', once' if users else ''}")
    if users and not (one_user or _takes(read, "user_ids")):
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
