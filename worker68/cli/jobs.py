"""``worker68 jobs``: look at the jobs in the database, and cancel one.

In: a job's id, its own or that of a Celery message that asked for it. Out: its row in words or JSON. Message text is shown as its
length, unless LOG_CONTENT says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from worker68.cli.identify import find_job, is_number
from worker68.cli.joblist import (
    WAITING,
    describe_job_error,
    explain_waiting,
    find_listing,
    is_wide,
    name_chat,
    print_jobs,
    print_summary,
)
from worker68.cli.ledger import open_database
from worker68.cli.output import JSON, open_console, print_facts, print_json, print_table, printable, show_time
from worker68.cli.replies import describe_result, shorten
from worker68.clock import utc_now
from worker68.errors import RedisAway, Worker68Error
from worker68.jobs.outcome import Status
from worker68.jobs.states import State
from worker68.settings import Settings, load_settings
from worker68.store.reports import LOOKED_THROUGH, JobReport, load_reports
from worker68.store.waiting import cancel
from worker68.tasks import TASKS

#: Fields that hold the text of a message or of a notice.
TEXTS: Final = {"text", "notice", "announcement_text"}
#: A result may name a hundred thousand users; ``--json`` prints all of it.
RESULT_LENGTH: Final = 1000

ACCOUNT = click.option("--account", help="Only jobs of this account.")


class NoSuchJob(Worker68Error):
    """No job has this id: it has not been taken in yet (is a worker running?), or the id belongs to another database."""


@click.group()
def jobs() -> None:
    """Look at jobs, and cancel those that wait.

    \b
    Example:
      worker68 jobs list --state deferred
    """


@jobs.command("list")
@ACCOUNT
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Only jobs that stand there.")
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only jobs that ended so.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@JSON
def list_(account: str | None, state: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List jobs: those that are ready or deferred with the first of each lane first, all others with the newest first.

    On top: for what the unfinished jobs of each account wait. The short ids are taken by every command; --json has whole ones.

    \b
    Example:
      worker68 jobs list --account main --state ready --limit 10
    """
    settings = load_settings()
    console = open_console()
    with open_database(settings) as engine:
        short = not as_json and not is_wide(console)
        listing = find_listing(engine, settings, account=account, state=state, status=status, limit=limit, short=short)
        if as_json:
            print_json(listing.lines)
            return
        if status is None and state in (None, *WAITING):
            print_summary(engine, settings, account)
    if listing.lines:
        print_jobs(listing, console)
    else:
        click.echo("no such jobs" if listing.complete else f"no such jobs among the newest {LOOKED_THROUGH}")


@jobs.command()
@click.argument("job_id", metavar="ID")
@ACCOUNT
@JSON
def show(job_id: str, account: str | None, as_json: bool) -> None:
    """Show a job: where it stands and why, who asked for it, and each attempt.

    ID is its job_id, the beginning of it, the Celery id of a message that asked for it, or its number as the list shows it (@4711).

    \b
    Example:
      worker68 jobs show 7b1f0c9e-3f0e-4a53-9d0f-6f3f6a2e1f57
    """
    settings = load_settings()
    with open_database(settings) as engine:
        report = find_job(engine, job_id, account)
        why = explain_waiting(engine, settings, [report.job]) if report is not None else {}
    if report is None:
        raise NoSuchJob(f"no job {job_id!r}: not taken in yet (is a worker running?), or in another database")
    because = why.get(report.job.seq)
    explanation = explain(report, because.words if because is not None else None)
    if not settings.log_content:
        report = msgspec.structs.replace(report, fields=_without_text(report.fields))
    if as_json:
        print_json(msgspec.to_builtins(report) | {"explanation": explanation})
    else:
        _print(report, explanation)


@jobs.command("cancel")
@click.argument("job_id", metavar="ID")
@ACCOUNT
@click.option("--reason", default="cancelled by an operator", show_default=True, help="Why, for the job's row.")
def cancel_(job_id: str, account: str | None, reason: str) -> int:
    """Cancel a job of which nothing was written to the bridge yet.

    ID is as for `jobs show`, but the beginning counts of a UUID only. An id that is not known yet is remembered for 30 days: its
    job is cancelled when it comes. The exit code is 1 then, as it is where it is too late.

    \b
    Example:
      worker68 jobs cancel order-4711 --reason "customer called"
    """
    settings = load_settings()
    with open_database(settings) as engine:
        report = find_job(engine, job_id, account, is_to_change=True)
        if report is None and is_number(job_id):
            raise NoSuchJob(f"no job {job_id!r} in this database")
        task_ids = [one.task_id for one in report.requesters] if report else [job_id]
        done = cancel(engine, task_ids, reason, utc_now())
        if report is None:
            unknown = f"no job {job_id!r} yet: if a message with this Celery id arrives within 30 days, it is cancelled"
            click.echo(printable(f"worker68: {unknown}"), err=True)
            return 1
        now = next(iter(load_reports(engine, [report.job.seq])), None)
        stands = explain(now) if now else "it is gone"
    if report.job.seq in done.ended:
        _tell_workers(settings, task_ids)
        ended_as = now.job.status if now else Status.CANCELLED
        if ended_as == Status.CANCELLED:
            click.echo(f"cancelled {report.job.job_id}")
        else:  # a change that was written and not answered
            click.echo(printable(f"{report.job.job_id} is not tried again, but may have been made: {stands}"))
        return 0
    if report.job.seq in done.before:
        click.echo(printable(f"{job_id} was cancelled before: {stands}"))
        return 0
    click.echo(printable(f"worker68: too late to cancel {job_id}: {stands}"), err=True)
    return 1


def _tell_workers(settings: Settings, task_ids: Sequence[str]) -> None:
    """Let the owner of a cancelled job go on with the next of its lane at once; without this it does so within half a minute."""
    if settings.redis_url is None:
        return
    # Celery takes most of a second to import.
    from worker68.cli.producer import Producer

    try:
        with Producer(settings) as producer:
            producer.revoke(task_ids)
    except RedisAway as away:
        click.echo(f"worker68: {away}; the job is cancelled all the same", err=True)


def explain(report: JobReport, why: str | None = None) -> str:
    """Return in words where the job stands and why; ``why``: what ``explain_waiting`` found for one that waits."""
    job = report.job
    match job.state:
        case State.READY:
            return f"ready: {why or job.reason or 'it waits for its turn'}"
        case State.DEFERRED:
            until = f"deferred until {show_time(job.due_at)} UTC"
            return f"deferred: {why}" if why else f"{until}: {job.reason}" if job.reason else until
        case State.SENDING:
            began = report.attempts[-1].began_at if report.attempts else None
            so_far = f": {report.progress}" if report.progress else ""
            return f"attempt {job.attempts} is under way since {show_time(began)} UTC{so_far}"
    ended = f"ended {show_time(job.finished_at)} UTC, {str(job.status).replace('_', ' ')}"
    why = describe_job_error(job) or job.reason or describe_result(report.result)
    return f"{ended}: {why}" if why else ended


def _print(report: JobReport, explanation: str) -> None:
    job = report.job
    facts = {
        "job": job.job_id,
        "number": f"@{job.seq}",
        "stands": explanation,
        "task": job.task,
        "account": job.account,
        "chat": name_chat(job),
        "fields": _json(report.fields),
        "step": _step(report),
        "result": shorten(_json(report.result), RESULT_LENGTH) if report.result is not None else None,
        "lane": f"{report.lane}, priority {report.priority}",
        "custom_msg_id": report.custom_msg_id,
        "received": show_time(job.received_at),
        "expires": show_time(job.expires_at),
        "revision": report.revision,
    }
    print_facts(facts, verbatim=("fields", "result"))
    console = open_console()
    print_table(
        ("asked for by", "reply to"), ((one.task_id, one.reply_to or None) for one in report.requesters), console
    )
    if report.attempts:
        names = _name_steps(report)
        columns = ("attempt", *(("of",) if names else ()), "began (UTC)", "ended (UTC)", "ending", "owner")
        tries = (
            (
                one.number,
                *((names[one.step],) if names else ()),
                show_time(one.began_at),
                show_time(one.ended_at),
                one.ending,
                one.owner,
            )
            for one in report.attempts
        )
        print_table(columns, tries, console)


def _name_steps(report: JobReport) -> tuple[str, ...]:
    """Return what to call the steps of a job that has several, of others nothing."""
    kind = TASKS.get(report.job.task)
    if kind is None:
        return ()
    try:
        steps = kind.steps_of(msgspec.convert(report.fields, kind.fields))
    except msgspec.ValidationError:
        return ()  # it ended as invalid
    return tuple("announcement" if step.message else "change" for step in steps) if len(steps) > 1 else ()


def _step(report: JobReport) -> str | None:
    """Say at which of its steps a job stands, or ended, and what those before it have done."""
    names = _name_steps(report)
    if not names:
        return None
    done = describe_result(report.done)
    return f"{report.step + 1} of {len(names)}, the {names[report.step]}{f'; done before: {done}' if done else ''}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _without_text(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the text of messages, quotes and notices replaced by its length."""
    shown = dict(fields)
    for name, value in fields.items():
        if name in TEXTS and isinstance(value, str):
            shown[name] = f"({len(value)} characters)"
        elif isinstance(value, dict):
            shown[name] = _without_text(value)
    return shown
