"""Why a job waits, put together when a person asks: from its row, its lane, its account's pause and owner.

In: rows of waiting jobs. Out: words for each, and what it has in common with others. The owner writes a reason only into the row
of a lane's first job; what stands behind it waits for that one. Never: a change of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker68.cli.output import show_time
from worker68.cli.reach import find_owners, open_redis, saying_away
from worker68.clock import utc_now
from worker68.errors import RedisAway
from worker68.execution.reasons import BACKS_OFF, not_before, refused
from worker68.execution.slots import ask_of
from worker68.fleet.accounts import read_known
from worker68.jobs.job import Job
from worker68.jobs.states import State
from worker68.limits.limiter import find_waits
from worker68.settings import Settings
from worker68.store.engine import Engine
from worker68.store.pauses import Pause, list_pauses
from worker68.store.reports import JobLine
from worker68.store.standing import COUNTED_AHEAD, Ahead, find_ahead, find_reasons_beside
from worker68.store.waiting import load_jobs

#: In a long list no more than this many are looked up in their lanes; the others show what their rows say.
MOST_LOOKED_UP = 200

WAITING = (State.READY, State.DEFERRED)

_NEXT = "its turn comes next"
_CHANCE = "; its next chance is in "


@dataclass(frozen=True)
class Why:
    """``words`` say it of one job. ``cause`` is the same for all that wait for the same, as for all jobs of a lane."""

    words: str
    cause: str


@dataclass(frozen=True)
class _Surroundings:
    """``owners`` is None where Redis was not asked, ``redis_problem`` says that it did not answer."""

    pauses: dict[str, Pause]
    owners: dict[str, str] | None
    redis_problem: str | None
    ahead: dict[int, Ahead]
    beside: dict[int, str]
    limits: dict[int, str]
    name: Callable[[str, int], str]


def name_whole(job_id: str, _seq: int) -> str:
    return job_id


def explain_waiting(
    engine: Engine, settings: Settings, lines: Sequence[JobLine], name: Callable[[str, int], str] = name_whole
) -> dict[int, Why]:
    """Return why each waiting one of these jobs waits, by its number; ``name``: how to call another job, by its id and number."""
    waiting = [line for line in lines if line.state in WAITING]
    if not waiting:
        return {}
    looked_up = [line.seq for line in waiting[:MOST_LOOKED_UP]]
    ahead = find_ahead(engine, looked_up)
    owners, problem, limits = None, None, dict[int, str]()
    if settings.redis_url is not None:
        firsts = {ahead[seq].seq if seq in ahead else seq for seq in looked_up}
        try:
            owners = find_owners(settings.redis_url, sorted({line.account for line in waiting}))
            limits = _find_limits(engine, settings, settings.redis_url, sorted(firsts))
        except RedisAway as away:
            problem = str(away)
    beside = find_reasons_beside(engine, looked_up)
    around = _Surroundings(list_pauses(engine), owners, problem, ahead, beside, limits, name)
    return {line.seq: _explain(line, around) for line in waiting}


def _find_limits(engine: Engine, settings: Settings, redis_url: str, seqs: Sequence[int]) -> dict[int, str]:
    """Return for jobs that are the first of their lanes the limit that each waits for now, where one does."""
    accounts, found = read_known(settings, engine).accounts, dict[int, str]()
    by_account: dict[str, list[Job]] = {}
    for job in load_jobs(engine, seqs):
        by_account.setdefault(job.account, []).append(job)
    with saying_away(redis_url), open_redis(redis_url) as redis:
        for account, jobs in by_account.items():
            if account not in accounts:
                continue
            limits = accounts[account].limits
            for job, wait in zip(jobs, find_waits(redis, account, limits, list(map(ask_of, jobs))), strict=True):
                if wait is not None:
                    found[job.seq] = f"{refused(wait, limits)}{_CHANCE}{wait.retry_after_seconds:.1f} s"
    return found


def _explain(line: JobLine, around: _Surroundings) -> Why:
    account = _account(line, around)
    if line.state == State.DEFERRED and line.attempts == 0:
        assert line.due_at is not None
        own = line.reason or not_before(line.due_at)
        cause = "not due yet" if own == not_before(line.due_at) else own.partition(";")[0]
        return Why("; ".join(reason for reason in (own, account) if reason), cause)
    if account is not None:
        return Why(account, account)
    return _lane(line, around) or _own(line, around)


def _account(line: JobLine, around: _Surroundings) -> str | None:
    """What keeps all jobs of the account waiting, as far as others can see it; the rest its owner writes into rows."""
    if (pause := around.pauses.get(line.account)) is not None:
        return f"the account {line.account} is {pause.words}"
    if around.redis_problem is not None:
        return f"nothing starts without Redis: {around.redis_problem}"
    if around.owners is not None and line.account not in around.owners:
        return f"no worker owns the account {line.account}: is one running that has it in its settings or database?"
    return None


def _lane(line: JobLine, around: _Surroundings) -> Why | None:
    ahead = around.ahead.get(line.seq)
    if ahead is None:
        return None
    many = f"more than {COUNTED_AHEAD}" if ahead.count > COUNTED_AHEAD else str(ahead.count)
    head = around.name(ahead.job_id, ahead.seq)
    first = f"behind {head}" if ahead.count == 1 else f"behind {many} jobs of its lane, the first {head}"
    if ahead.under_way:
        return Why(f"{first}, which is under way", "one before them is under way")
    reason = ahead.reason or around.limits.get(ahead.seq)
    if reason is None:
        return Why(f"{first}, whose turn comes next", _NEXT)
    return Why(f"{first}, which waits: {reason}", _cause(reason))


def _own(line: JobLine, around: _Surroundings) -> Why:
    limit = around.limits.get(line.seq)
    if line.state != State.DEFERRED:
        words = line.reason or around.beside.get(line.seq) or limit or _NEXT
        return Why(words, _cause(words))
    assert line.due_at is not None
    if line.due_at > utc_now():
        return Why(f"tried again at {show_time(line.due_at)} UTC: {line.reason}", _cause(line.reason or BACKS_OFF))
    words = limit or line.reason or _NEXT
    return Why(f"its back-off is over: {words}", _cause(words))


def _cause(reason: str) -> str:
    """Return a reason without what differs from job to job."""
    if reason.startswith("behind "):
        return "one before them is under way"
    return reason.partition(_CHANCE)[0]
