"""``worker68 send``, ``mute`` and ``sync``: ask for one job, and wait for its end if that is wanted.

In: options and arguments, checked by the rules for jobs before anything leaves. Out: the task id, or how the job ended. It is an
ordinary producer: it needs Redis, and the worker answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import click

from worker68.cli.output import print_json
from worker68.cli.replies import describe
from worker68.errors import FieldError
from worker68.jobs.job import DEFAULT_ACCOUNT
from worker68.jobs.kinds import KINDS
from worker68.jobs.outcome import Status
from worker68.jobs.validation import convert_common, convert_fields
from worker68.settings import load_settings

#: Longer than a verdict takes at worst (VERDICT_TIMEOUT, 30 s by default) and a wait for one's turn.
WAIT_SECONDS: Final = 60.0

ID = click.IntRange(1, 2**63 - 1)

Command = Callable[..., Any]

_JOB_OPTIONS: Final = (
    click.option("--account", default=DEFAULT_ACCOUNT, show_default=True, help="Whose job it is."),
    click.option("--job-id", help="Idempotency key: the same one with the same content runs once."),
    click.option("--reply-to", help="Also push the reply to this reply list, or stream:NAME."),
    click.option("--wait", is_flag=True, help="Wait for the end: exit code 0 if it succeeded, else 1."),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=WAIT_SECONDS,
        show_default=True,
        help="Seconds to wait at most; the job goes on.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the task id, or with --wait the reply, as JSON."),
)


def job_options(command: Command) -> Command:
    """Give a command the options that every job takes."""
    for option in reversed(_JOB_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.option("--group", type=ID, help="The group to write to.")
@click.option("--friend", type=ID, help="The friend to write to.")
@click.argument("text")
@job_options
def send(group: int | None, friend: int | None, text: str, **options: Any) -> int:
    """Send TEXT to a group or a friend.

    Prints the task id; with --wait, how it ended. Put -- before a TEXT that begins with a dash.

    \b
    Example:
      worker68 send --group 389284 "hello" --wait
    """
    if (group is None) == (friend is None):
        raise click.UsageError("give either --group ID or --friend ID")
    chat = {"type": "friend", "id": friend} if group is None else {"type": "group", "id": group}
    return _ask_for("worker68.send_message", {"chat": chat, "text": text}, **options)


@click.command()
@click.option("--group", type=ID, required=True, help="In which group.")
@click.option("--user", type=ID, required=True, help="Whom.")
@click.option("--seconds", type=click.IntRange(0, 2**31 - 1), required=True, help="For how long; 0 lifts the mute.")
@job_options
def mute(group: int, user: int, seconds: int, **options: Any) -> int:
    """Mute a member of a group, or lift it.

    \b
    Example:
      worker68 mute --group 441298 --user 7128348 --seconds 600 --wait
    """
    return _ask_for("worker68.mute_member", {"group_id": group, "user_id": user, "seconds": seconds}, **options)


@click.command()
@click.argument("what", type=click.Choice(["groups"]))
@job_options
def sync(what: Literal["groups"], **options: Any) -> int:
    """Read what the bridge knows into the database.

    \b
    Example:
      worker68 sync groups --wait
    """
    return _ask_for(f"worker68.sync_{what}", {}, **options)


def _ask_for(
    task: str,
    own: dict[str, Any],
    *,
    account: str,
    job_id: str | None,
    reply_to: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> int:
    common = {"account": account, "job_id": job_id, "reply_to": reply_to}
    given = {name: value for name, value in common.items() if value is not None}
    _check(task, own, given)
    # Celery takes most of a second to import: asking wrongly is answered before.
    from worker68.cli.producer import Producer

    with Producer(load_settings()) as producer:
        result = producer.put_in(task, given | own)
        if not wait:
            _say({"task_id": result.id}, result.id, as_json)
            return 0
        goes_on = f"the job goes on, look with `worker68 jobs show {result.id}`"
        try:
            reply = producer.await_reply(result, timeout)
        except KeyboardInterrupt:
            click.echo(f"\nworker68: not waiting any longer; {goes_on}", err=True)
            raise
    if reply is None:
        click.echo(f"worker68: not ended within {timeout:g} s; {goes_on}", err=True)
        return 1
    _say(reply, describe(reply), as_json)
    return 0 if reply["status"] == Status.SUCCEEDED else 1


def _say(value: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        click.echo(words)


def _check(task: str, own: dict[str, Any], common: dict[str, Any]) -> None:
    """Refuse what the worker would refuse; raises ``UsageError`` naming everything that is wrong."""
    errors: list[FieldError] = []
    convert_common(common, errors)
    convert_fields(KINDS[task].fields, own, errors)
    if errors:
        raise click.UsageError("; ".join(map(str, errors)))
