"""``worker68 pause`` and ``worker68 resume``: the kill switch of an account.

In: an account and a reason. Out: the pause in SQL, which every worker respects; pausing returns when nothing more can be written:
its owner has said so, or no worker owns it, or so much time has passed that an owner which cannot ask SQL has stopped writing.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from typing import Any, Final

import click

from worker68.cli.ledger import open_database
from worker68.cli.output import JSON, print_json, printable
from worker68.cli.reach import find_owners
from worker68.clock import Deadline, utc_now
from worker68.errors import RedisAway, Worker68Error
from worker68.execution.slots import ANSWER_SECONDS
from worker68.fleet.accounts import read_known
from worker68.settings import Settings, load_settings
from worker68.store import pauses
from worker68.store.engine import Engine
from worker68.store.pauses import Pause
from worker68.store.reports import has_jobs

#: Between two looks whether the owner has taken note.
LOOK_SECONDS: Final = 0.05

#: Clocks of two machines run alike, but a commit is not seen in the moment in which it was sent.
MARGIN_SECONDS: Final = 0.5


def _read_reason(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say why, in words")
    return value


REASON = click.option(
    "--reason",
    required=True,
    callback=_read_reason,
    help="Why: shown by `top`, `check` and `jobs list`, and kept in the table `pauses`.",
)


class NoSuchAccount(Worker68Error):
    """There is no account of this name."""


@click.command()
@click.argument("account")
@REASON
@JSON
def pause(account: str, reason: str, as_json: bool) -> int:
    """Stop writing for ACCOUNT: nothing more goes to its bridge, by any worker, until it is resumed.

    Jobs are still taken in and wait. What was written before ends as it would have. Returns when nothing more can be written.

    \b
    Example:
      worker68 pause main --reason "the client shows a warning"
    """
    settings = load_settings()
    with open_database(settings) as engine:
        _check_known(settings, engine, account)
        paused, new = pauses.pause(engine, account, reason, who(), utc_now())
        deadline = Deadline.after(ANSWER_SECONDS + MARGIN_SECONDS)
        owner = _find_owner(settings, account)
        while owner is not None and paused.seen_by is None and not deadline.passed:
            time.sleep(LOOK_SECONDS)
            paused = pauses.find_pause(engine, account) or paused
    if as_json:
        print_json(_facts(paused) | {"new": new})
        return 0
    click.echo(printable(f"{account} is {'now ' if new else ''}{paused.words}"))
    click.echo(_consequence(paused, owner))
    return 0


@click.command()
@click.argument("account")
@click.option("--reason", required=True, callback=_read_reason, help="Why, for the history.")
@JSON
def resume(account: str, reason: str, as_json: bool) -> int:
    """Let ACCOUNT go on after a pause.

    \b
    Example:
      worker68 resume main --reason "logged in again"
    """
    settings = load_settings()
    with open_database(settings) as engine:
        _check_known(settings, engine, account)
        ended = pauses.resume(engine, account, reason, who(), utc_now())
    if as_json:
        print_json({"account": account, "was_paused": _facts(ended) if ended else None})
    elif ended is None:
        click.echo(f"{account} was not paused")
    else:
        click.echo(printable(f"{account} goes on; it was {ended.words}"))
    return 0


def who() -> str:
    """Return who runs this command, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _check_known(settings: Settings, engine: Engine, account: str) -> None:
    """Refuse an account that is not known: a pause of a misspelt one would stop nothing."""
    known = set(read_known(settings, engine).accounts)
    if account in known or has_jobs(engine, account) or _find_owner(settings, account) is not None:
        return
    names = ", ".join(sorted(known)) or "none"
    raise NoSuchAccount(
        f"no account {account!r}: settings and database have {names}, and no job in the database is its"
    )


def _find_owner(settings: Settings, account: str) -> str | None:
    """Return the worker that owns the account; ``unknown`` where Redis does not say it."""
    if settings.redis_url is None:
        return "unknown"
    try:
        return find_owners(settings.redis_url, [account]).get(account)
    except RedisAway:
        return "unknown"


def _consequence(paused: Pause, owner: str | None) -> str:
    if paused.seen_by is not None:
        return f"worker {paused.seen_by} has stopped writing; what was written before ends as it would have"
    if owner is None:
        return "no worker owns the account; the next one will not write either"
    return "its worker has not answered, but stops writing when it cannot ask the database; look whether it is well"


def _facts(paused: Pause) -> dict[str, Any]:
    return {
        "account": paused.account,
        "reason": paused.reason,
        "paused_by": paused.paused_by,
        "paused_at": paused.paused_at,
        "seen_by": paused.seen_by,
    }
