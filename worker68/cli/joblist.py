"""The list of jobs as a person reads it: what waits for what on top, the first of each lane first, a row for each job.

In: the filters of ``worker68 jobs list``. Out: lines of jobs, and tables; why a job waits is put together when a person asks: from
its row, its lane, its account's pause and owner. The owner writes a reason only into the row of a lane's first job; what stands
behind it waits for that one. Never: a change of anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click
import msgspec
from rich.console import Console

from worker68.cli.identify import shorten_id, shorten_ids
from worker68.cli.output import open_console, print_table, show_length, show_time
from worker68.cli.reach import find_owners, open_redis, saying_away
from worker68.cli.replies import describe_error
from worker68.clock import utc_now
from worker68.errors import RedisAway
from worker68.execution.reasons import BACKS_OFF, not_before, refused
from worker68.execution.slots import ask_of
from worker68.fleet.accounts import read_known
from worker68.jobs.job import Job, is_shared_lane
from worker68.jobs.states import State
from worker68.limits.limiter import find_waits
from worker68.settings import Settings
from worker68.store.engine import Engine
from worker68.store.figures import find_waiting_accounts, sum_waiting_jobs
from worker68.store.pauses import Pause, list_pauses
from worker68.store.reports import JobLine, list_jobs, load_lines
from worker68.store.standing import (
    COUNTED_AHEAD,
    Ahead,
    Standing,
    count_in_lanes,
    find_ahead,
    find_reasons_beside,
    list_waiting,
)
from worker68.store.waiting import load_jobs

#: From this width on a whole id has its place.
WIDE: Final = 160

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


def name_whole(job_id: str, _seq: int) -> str:
    return job_id


@dataclass(frozen=True)
class Listing:
    """What was found. ``standing``: where those that wait in lanes stand, by their numbers."""

    lines: list[JobLine]
    why: Mapping[int, Why]
    standing: Mapping[int, Standing]
    complete: bool


def find_listing(
    engine: Engine,
    settings: Settings,
    *,
    account: str | None,
    state: str | None,
    status: str | None,
    limit: int,
    short: bool = False,
) -> Listing:
    """Return the jobs that were asked for: of those that wait the first of each lane first, of all others the newest first.

    ``short``: other jobs are called by their short ids.
    """
    standing: list[Standing] = []
    if state in WAITING and status is None:
        accounts = [account] if account is not None else find_waiting_accounts(engine)
        standing = list_waiting(engine, accounts, state, limit)
        lines, complete = load_lines(engine, [one.seq for one in standing]), True
    else:
        lines, complete = list_jobs(engine, account=account, state=state, status=status, limit=limit)
    why = explain_waiting(engine, settings, lines, shorten_id if short else name_whole)
    lines = [msgspec.structs.replace(line, reason=_words(line, why)) for line in lines]
    return Listing(lines, why, {one.seq: one for one in standing}, complete)


def print_summary(engine: Engine, settings: Settings, account: str | None) -> None:
    """Print for each account how many of its jobs are in which state, and for each cause how many wait for it."""
    accounts = [account] if account is not None else find_waiting_accounts(engine)
    causes = _count_causes(engine, settings, accounts)
    rows: list[tuple[str, str, str]] = []
    for name, (states, oldest) in sum_waiting_jobs(engine, accounts, utc_now()).items():
        waiting = ", ".join(f"{states[state]} {state}" for state in State if states[state])
        old = f"; the oldest ready one has waited for {show_length(oldest)}" if oldest is not None else ""
        rows.append((name, str(states.total()), f"{waiting}{old}"))
        rows += [("", number, cause) for cause, number in causes[name].items()]
    if rows:
        print_table(("account", "jobs", "wait for"), rows)
        click.echo()


def _count_causes(engine: Engine, settings: Settings, accounts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return by account and cause how many jobs wait in the lanes that it holds up, the most first."""
    heads = [one for one in list_waiting(engine, accounts, None, MOST_LOOKED_UP) if one.place == 0]
    lines = load_lines(engine, [one.seq for one in heads])
    why = explain_waiting(engine, settings, lines)
    lanes = count_in_lanes(engine, [(one.account, one.lane) for one in heads if one.lane is not None])
    numbers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in heads:
        if one.seq in why:
            numbers[one.account][why[one.seq].cause] += 1 if one.lane is None else lanes[one.account, one.lane]
    many = len(heads) >= MOST_LOOKED_UP or any(number > COUNTED_AHEAD for number in lanes.values())
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for account, causes in numbers.items():
        for cause in sorted(causes, key=causes.__getitem__, reverse=True):
            found[account][cause] = f"{causes[cause]}{'+' if many else ''}"
    return found


def is_wide(console: Console) -> bool:
    """Whether whole ids have their place."""
    return console.width >= WIDE


def print_jobs(listing: Listing, console: Console | None = None) -> None:
    """Print a row for each job; whole ids where there is room for them."""
    console = console or open_console()
    wide = is_wide(console)
    ids = {line.seq: line.job_id for line in listing.lines} if wide else shorten_ids(listing.lines)
    firsts = {(one.account, one.lane): seq for seq, one in listing.standing.items() if one.place == 0}
    rows = []
    for line in listing.lines:
        why = listing.why.get(line.seq)
        one = listing.standing.get(line.seq)
        first = firsts.get((one.account, one.lane)) if one is not None and _is_ordered(one) else None
        # What the first of its lane says already is not said again.
        known = first not in (None, line.seq) and not wide
        words = describe_job_error(line) or line.reason if why is None else None if known else why.words
        rows.append(
            (
                ids[line.seq],
                line.account,
                line.task.removeprefix("worker68."),
                name_chat(line),
                _name_place(one, ids.get(first) if first and not wide else None) if one else line.status or line.state,
                line.attempts,
                show_time(line.received_at),
                words,
            )
        )
    place = "lane" if listing.standing else "state"
    columns = ("job", "account", "task", "chat", place, "tries", "received (UTC)", "why")
    print_table(columns, rows, console, optional=("lane", "tries", "received (UTC)"))


def _name_place(one: Standing, first: str | None) -> str | None:
    """Return a job's place in its lane: `first`, or how far it is behind the first one."""
    if not _is_ordered(one):
        return None
    if one.place == 0:
        return "first"
    return f"+{one.place}" + (f" {first}" if first is not None else "")


def _is_ordered(one: Standing) -> bool:
    """Whether it waits for those before it: it stands in a lane, and has not opted out of its order."""
    return one.lane is not None and not is_shared_lane(one.lane)


def name_chat(job: JobLine) -> str | None:
    return f"{job.chat_type} {job.chat_id}" if job.chat_id is not None else None


def describe_job_error(job: JobLine) -> str | None:
    if job.error_code is None:
        return None
    error = {"code": job.error_code, "message": job.error_message}
    return describe_error(error | ({"bridge_code": job.bridge_code} if job.bridge_code is not None else {}))


def _words(line: JobLine, why: Mapping[int, Why]) -> str | None:
    return why[line.seq].words if line.seq in why else line.reason


# -- why a job waits


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
