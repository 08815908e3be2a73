"""Remote control: each of Celery's commands does here what it says, or refuses and names worker68's own command.

In: a command of ``celery control``, ``celery inspect``, ``app.control`` or Flower. Out: its answer, on Celery's thread. What is not
overridden here is right as Celery has it: ``tests/acceptance/test_remote_control.py`` goes through all of them. ``revoke`` cancels
the job in the database, wherever it waits; Celery's own would remember the id in this worker's memory, and end the task without an
outcome. Never: message text; a wait for SQL longer than half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import structlog
from celery.worker.control import control_command, inspect_command

from worker68.celery_worker import internals
from worker68.celery_worker.inspection import Inspection
from worker68.celery_worker.internals import nok, ok
from worker68.celery_worker.queues import bind
from worker68.errors import DatabaseAway
from worker68.store.inspection import MOST
from worker68.store.tables import plain
from worker68.store.waiting import REVOKED_FOR

log = structlog.get_logger(__name__)

#: So many ids are named at most: a revoke may have thousands.
_NAMED = 3

_CANCEL = "`worker68 jobs cancel ID` cancels a job of which nothing was written to the bridge"
_CONCURRENCY = (
    "jobs need no thread of the pool: set WORKER68_CONCURRENCY or WORKER68_MAX_IN_FLIGHT and start the worker again"
)

#: Command -> why it is refused, and what to use in its place.
REFUSED: Final = {
    "add_consumer": "a worker takes in the queues of its accounts alone; "
    "`worker68 resume ACCOUNT --reason TEXT` lets a paused account go on",
    "cancel_consumer": "a queue is taken in as long as its account is configured; "
    "`worker68 pause ACCOUNT --reason TEXT` stops all writing for the account",
    "rate_limit": "limits belong to accounts: set WORKER68_LIMITS and start the worker again; "
    "`worker68 pause ACCOUNT --reason TEXT` stops an account at once",
    "time_limit": "each step of a job has its own deadline: set WORKER68_VERDICT_TIMEOUT or WORKER68_REPLY_TIMEOUT "
    f"and start the worker again; {_CANCEL}",
    "pool_grow": f"{_CONCURRENCY} (`worker68 worker`)",
    "pool_shrink": f"{_CONCURRENCY} (`worker68 worker`)",
    "pool_restart": "the pool cannot be restarted: stop the worker and start `worker68 worker` again",
    "autoscale": f"{_CONCURRENCY} (`worker68 worker`)",
    "terminate": f"what is under way cannot be killed; {_CANCEL}",
    "revoke_by_stamped_headers": f"the stamps of a message are not kept; {_CANCEL}",
    "election": "workers hold no elections: an account belongs to the worker that holds its lease; `worker68 top` shows which",
}


def _ids(given: object) -> list[str]:
    """Return Celery ids as the tables have them, whatever was given: one that no job can have costs the others nothing."""
    each = given if isinstance(given, list | tuple) else [] if given is None else [given]
    return [plain(str(one)) for one in each]


def _inspection(state: Any) -> Inspection:
    """Return what the worker's bootstep has put there."""
    inspection: Inspection = state.app.worker68_inspection
    return inspection


def _refuse(name: str, words: str) -> None:
    """Replace Celery's command by one that refuses."""

    def refuse(state: Any, **_: Any) -> Any:
        log.warning("control_command_refused", command=name, remedy=words)
        return nok(f"{name} is refused: {words}")

    internals.replace_command(name, refuse)


for _name, _words in REFUSED.items():
    _refuse(_name, _words)


@control_command(
    variadic="task_id",
    signature="[id1 [id2 [... [idN]]]]",
)
def revoke(state: Any, task_id: object, terminate: bool = False, **_: Any) -> Any:
    """Cancel the jobs for which these Celery messages asked, as far as nothing of them was written to the bridge."""
    ids = _ids(task_id)
    if not ids:
        return nok("no id was given")
    internals.note_revoked(ids)
    done = state.app.worker68_revocation.revoke(ids)
    names = ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")
    if done is None:
        return nok(f"{names}: not cancelled yet; the database is slow or away, the log says what comes of it")
    counts = (
        (len(done.ended), "cancelled"),
        (len(done.before), "cancelled before"),
        (len(done.too_late), "too late: under way, or ended"),
        (len(done.unseen), f"not seen yet, cancelled if it comes within {REVOKED_FOR.days} days"),
    )
    words = f"{names}: {', '.join(f'{count} {words}' for count, words in counts if count)}"
    if terminate and done.too_late:
        return nok(f"{words}; {REFUSED['terminate']}")
    return ok(words)


@inspect_command()
def active_queues(state: Any) -> Any:
    """List the queues from which this worker takes jobs in now: the front door if it owns it, and those of its accounts."""
    return [dict(bind(name).as_dict(recurse=True)) for name in state.app.worker68_runtime.queues()]


def _answered(question: Callable[..., Any]) -> Callable[..., Any]:
    """Let a question to a database that is slow or away be answered so."""

    @wraps(question)
    def answer(state: Any, **arguments: Any) -> Any:
        try:
            return question(state, **arguments)
        except DatabaseAway as away:
            return nok(f"not known: {away}; try again, and see `worker68 check`")

    return answer


@inspect_command(alias="dump_active")
def active(state: Any, **_: Any) -> Any:
    """List the jobs that have their turn in this worker: its id, account and chat."""
    return _inspection(state).active(state.hostname)


@inspect_command(alias="dump_schedule")
@_answered
def scheduled(state: Any, **_: Any) -> Any:
    """List the jobs of this worker's accounts that are not due yet, the earliest first; a hundred at most."""
    return _inspection(state).scheduled(state.hostname)


@inspect_command(alias="dump_reserved")
@_answered
def reserved(state: Any, **_: Any) -> Any:
    """List the jobs of this worker's accounts that wait for their turn; a hundred at most."""
    return _inspection(state).reserved(state.hostname)


@inspect_command(alias="dump_revoked")
@_answered
def revoked(state: Any, **_: Any) -> Any:
    """List revoked ids: those whose job has not come, and the last ones whose job was cancelled; a hundred of each at most."""
    return _inspection(state).revoked(internals.revoked_ids())


@inspect_command(variadic="ids", signature="[id1 [id2 [... [idN]]]]")
@_answered
def query_task(state: Any, ids: object, **_: Any) -> Any:
    """Say where the jobs of these Celery ids stand (active, reserved, scheduled, ended) in the owner of their account."""
    asked = _ids(ids)
    if len(asked) > MOST:
        return nok(f"{len(asked)} ids: ask for {MOST} at most, or see `worker68 jobs show`")
    return _inspection(state).query(state.hostname, asked)
