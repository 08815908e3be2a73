"""Asking for one job from the command line, and waiting for its end if that is wanted.

In: a task and its fields, checked by the rules for jobs before anything leaves. Out: the task id, or how the job ended; an exit
code. It is an ordinary producer: it needs Redis, and the worker answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from worker68.cli.output import print_json
from worker68.cli.replies import describe
from worker68.errors import FieldError
from worker68.jobs.job import DEFAULT_ACCOUNT
from worker68.jobs.outcome import Status
from worker68.jobs.validation import convert_common, convert_fields
from worker68.settings import load_settings
from worker68.tasks import TASKS

ID = click.IntRange(1, 2**63 - 1)

Command = Callable[..., Any]


def job_options(task: str | None, wait_words: str = "") -> Callable[[Command], Command]:
    """Give a command the options that every job takes.

    ``task``: the one whose ``wait_seconds`` are the default of ``--timeout``; None where the command chooses, and says so in
    ``wait_words``.
    """
    wait_seconds = TASKS[task].wait_seconds if task is not None else None
    default = f"[default: {wait_words}]" if wait_seconds is None else f"[default: {wait_seconds:g}]"
    options = (
        click.option("--account", default=DEFAULT_ACCOUNT, show_default=True, help="Whose job it is."),
        click.option("--job-id", help="Idempotency key: the same one with the same content runs once."),
        click.option("--reply-to", help="Also push the reply to this reply list, or stream:NAME."),
        click.option("--wait", is_flag=True, help="Wait for the end: exit code 0 if it succeeded, else 1."),
        click.option(
            "--timeout",
            type=click.FloatRange(0, min_open=True),
            default=wait_seconds,
            help=f"Seconds to wait at most; the job goes on.  {default}",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the task id, or with --wait the reply, as JSON."),
    )

    def give(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return give


def ask_for(
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
    """Put the job in and return the command's exit code. Raises ``UsageError`` naming everything that is wrong with it."""
    common = {"account": account, "job_id": job_id, "reply_to": reply_to}
    given = {name: value for name, value in common.items() if value is not None}
    _check(task, own, given)
    # Celery takes most of a second to import: wrong arguments are refused before.
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
    """Refuse what the worker would refuse."""
    errors: list[FieldError] = []
    convert_common(common, errors)
    convert_fields(TASKS[task].fields, own, errors)
    if errors:
        raise click.UsageError("; ".join(map(str, errors)))
