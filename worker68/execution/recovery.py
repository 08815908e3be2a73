"""Recovery: what a new owner finds of an account, and the sweeps that let nothing lie for ever.

In: an account just taken over, or the time of a sweep. Out: jobs left begun by dead owners are resolved, parked ones whose task is
known now wait for their turn, and those whose time is over have ended. Never: a frame.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import structlog

from worker68.bridge.correlation import LateEvidence
from worker68.execution.intake import Intake, unknown_task_outcome
from worker68.execution.recorder import Kept, Note, NotesRefused, Seen, record
from worker68.jobs.job import Job
from worker68.jobs.outcome import expired
from worker68.jobs.states import Event
from worker68.jobs.task import Nature
from worker68.store.engine import Engine, transaction
from worker68.store.statements import attempts
from worker68.store.waiting import end_waiting, find_overdue, find_parked, find_parked_in_vain, find_unknown
from worker68.tasks import find_step

log = structlog.get_logger(__name__)

#: How long a takeover waits for rows that the account's last owner holds, which may be frozen in the middle of a transaction. Then
#: it is tried again, and the worker's other accounts go on; the server ends such a session by itself (``store/engine.py``).
LOCK_TIMEOUT_SECONDS = 2.0

#: So many parked jobs end in one sweep: nothing of their account begins meanwhile.
ENDED_AT_ONCE = 1000

_TIME_OVER = expired("its time was over before its turn came")
_TOO_OLD = expired("it had waited longer than the account's MAX_AGE when its turn came")


def is_repeatable(job: attempts.Begun) -> bool:
    """Whether the step that a job had begun may be made again by itself. It may not, where the task is not known here."""
    try:
        step = find_step(job.task, job.fields, job.step)
    except (ValueError, IndexError):
        log.exception("row_not_readable", seq=job.seq, task=job.task)
        return False
    return step is not None and step.nature is not Nature.SEND


def record_kept(engine: Engine, kept: Kept, account: str, now: dt.datetime) -> list[LateEvidence]:
    """Write down what older owners could only keep in Redis; return the late evidence among it, which stays kept.

    Raises ``DatabaseAway``, also as ``RowsLocked``, and ``RedisAway``. To be done before ``take_over``, which would call such an
    attempt lost. Where Redis refuses the notes for good the account goes on without them: at worst an attempt is in doubt that
    need not be.
    """
    seen: list[LateEvidence] = []
    try:
        notes = kept.load(account)
    except NotesRefused as refused:
        log.exception("kept_notes_refused", account=account, remedy=str(refused))
        return seen
    for note in notes:
        if isinstance(note, Seen):
            seen.append(note.evidence)
            continue
        with transaction(engine, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS) as connection:
            recorded = record(connection, note, now)
        log.info("kept_note_recorded", account=account, seq=note.attempt.seq, recorded=recorded)
        _forget(kept, account, note)
    return seen


def _forget(kept: Kept, account: str, note: Note) -> None:
    """Drop a note that was recorded. Left there, it names an attempt that has ended, and is dropped by the next owner."""
    try:
        kept.forget(account, note)
    except NotesRefused as refused:
        log.error("note_not_forgotten", account=account, problem=str(refused), remedy="give worker68 the right to HDEL")


def take_over(engine: Engine, account: str, fence: int, now: dt.datetime) -> None:
    """Resolve the attempts that older owners of the account left begun. Raises ``DatabaseAway``, also as ``RowsLocked``."""
    _resolve(engine, account, lambda job: job.fence < fence, now)


def resolve_abandoned(
    engine: Engine, account: str, fence: int, under_way: Callable[[int], bool], now: dt.datetime
) -> None:
    """Resolve attempts that are not under way in this worker any more: one broke off where it could not record its end.

    But not those of a later owner: this one may have stood still in here.
    """
    _resolve(engine, account, lambda job: job.fence <= fence and not under_way(job.seq), now)


def _resolve(engine: Engine, account: str, is_abandoned: Callable[[attempts.Begun], bool], now: dt.datetime) -> None:
    # Not through the group commit: a wait for a lock would hold up every account of this worker.
    with transaction(engine, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS) as connection:
        begun = [job for job in attempts.find_begun(connection, account) if is_abandoned(job)]
        # Asked again once no row can change: one may have come back meanwhile, and its next attempt may have begun.
        begun = [job for job in attempts.lock_begun(connection, account, begun) if is_abandoned(job)]
        resolved = attempts.resolve(connection, begun, is_repeatable, now) if begun else attempts.Resolved()
    if resolved != attempts.Resolved():
        log.warning(
            "attempts_recovered",
            account=account,
            ready_again=resolved.again,
            in_doubt=resolved.in_doubt,
            abandoned=resolved.abandoned,
        )


def revive_parked(engine: Engine, intake: Intake, account: str, now: dt.datetime) -> list[Job]:
    """Return the parked jobs whose task is known to this worker, made ready.

    All of them, a thousand in one transaction: what comes later to the same chat must not overtake them.
    """
    revived: list[Job] = []
    after = 0
    while parked := find_parked(engine, account, after):
        revived += intake.revive(account, parked, now)
        after = parked[-1].seq
    return revived


def end_parked(engine: Engine, account: str, now: dt.datetime) -> bool:
    """End parked jobs whose task no worker has known in time, a part of them, the oldest; return whether there may be more."""
    found = find_parked_in_vain(engine, account, now, ENDED_AT_ONCE)
    _end_as_unknown(engine, found, now)
    return len(found) == ENDED_AT_ONCE


def end_unknown(engine: Engine, account: str, lane: str, now: dt.datetime) -> list[int]:
    """End the jobs of a lane whose task no worker has known in time; return which did."""
    return _end_as_unknown(engine, find_unknown(engine, account, lane), now)


def _end_as_unknown(engine: Engine, found: Sequence[tuple[int, str]], now: dt.datetime) -> list[int]:
    """End jobs, given with their tasks: those of one task in one transaction. Return which did."""
    by_task: dict[str, list[int]] = {}
    for seq, task in found:
        by_task.setdefault(task, []).append(seq)
    ended: list[int] = []
    for task, seqs in by_task.items():
        ended += end_waiting(engine, seqs, Event.REFUSE, unknown_task_outcome(task), now)
    return ended


def expire_overdue(engine: Engine, account: str, now: dt.datetime) -> int:
    """End the waiting jobs of the account whose time is over; return how many."""
    overdue = find_overdue(engine, account, now)
    return len(end_waiting(engine, overdue, Event.EXPIRE, _TIME_OVER, now))


def expire(engine: Engine, overdue: Sequence[Job], now: dt.datetime) -> None:
    """End jobs whose time was over when their turn came, if they still wait: by their own expiry, or by MAX_AGE."""
    own = [job.seq for job in overdue if job.expires_at is not None and job.expires_at <= now]
    too_old = sorted({job.seq for job in overdue} - set(own))
    end_waiting(engine, own, Event.EXPIRE, _TIME_OVER, now)
    end_waiting(engine, too_old, Event.EXPIRE, _TOO_OLD, now)
