"""Why a job waits, put together when somebody asks: from its row, its lane, its account's pause and owner.

In: rows of waiting jobs. Out: words for each. The owner writes a reason only into the row of a lane's first job; what stands
behind it waits for that one. Never: a change of anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker68.cli.output import show_time
from worker68.cli.reach import find_owners
from worker68.errors import RedisAway
from worker68.jobs.states import State
from worker68.settings import Settings
from worker68.store.engine import Engine
from worker68.store.pauses import Pause, list_pauses
from worker68.store.reports import JobLine
from worker68.store.standing import COUNTED_AHEAD, Ahead, find_ahead

#: In a long list no more than this many are looked up in their lanes; the others show what their rows say.
MOST_LOOKED_UP = 200

WAITING = (State.READY, State.DEFERRED)


@dataclass(frozen=True)
class _Surroundings:
    """``owners`` is None where Redis was not asked, ``redis_problem`` says that it did not answer."""

    pauses: dict[str, Pause]
    owners: dict[str, str] | None
    redis_problem: str | None
    ahead: dict[int, Ahead]


def explain_waiting(engine: Engine, settings: Settings, lines: Sequence[JobLine]) -> dict[int, str]:
    """Return in words why each waiting one of these jobs waits, by its number."""
    waiting = [line for line in lines if line.state in WAITING]
    if not waiting:
        return {}
    owners, problem = _ask_redis(settings, sorted({line.account for line in waiting}))
    ahead = find_ahead(engine, [line.seq for line in waiting[:MOST_LOOKED_UP]])
    around = _Surroundings(list_pauses(engine), owners, problem, ahead)
    return {line.seq: _explain(line, around) for line in waiting}


def _ask_redis(settings: Settings, accounts: list[str]) -> tuple[dict[str, str] | None, str | None]:
    if settings.redis_url is None:
        return None, None
    try:
        return find_owners(settings.redis_url, accounts), None
    except RedisAway as away:
        return None, str(away)


def _explain(line: JobLine, around: _Surroundings) -> str:
    if line.state == State.DEFERRED and line.attempts == 0:
        reasons = [f"not before {show_time(line.due_at)} UTC", line.reason, _account(line, around)]
        return "; ".join(reason for reason in reasons if reason)
    return _account(line, around) or _lane(line, around) or _own(line)


def _account(line: JobLine, around: _Surroundings) -> str | None:
    """What keeps all jobs of the account waiting, as far as others can see it; the rest its owner writes into rows."""
    if (pause := around.pauses.get(line.account)) is not None:
        return f"the account {line.account} is {pause.words}"
    if around.redis_problem is not None:
        return f"nothing starts without Redis: {around.redis_problem}"
    if around.owners is not None and line.account not in around.owners:
        return f"no worker owns the account {line.account}: is one running that has it in its settings?"
    return None


def _lane(line: JobLine, around: _Surroundings) -> str | None:
    ahead = around.ahead.get(line.seq)
    if ahead is None:
        return None
    many = f"more than {COUNTED_AHEAD}" if ahead.count > COUNTED_AHEAD else str(ahead.count)
    first = (
        f"behind {ahead.job_id}" if ahead.count == 1 else f"behind {many} jobs of its lane, the first {ahead.job_id}"
    )
    if ahead.under_way:
        return f"{first}, which is under way"
    return f"{first}, which waits: {ahead.reason}" if ahead.reason else f"{first}, which waits for its turn"


def _own(line: JobLine) -> str:
    reason = line.reason or "it waits for its turn"
    return f"tried again at {show_time(line.due_at)} UTC: {reason}" if line.state == State.DEFERRED else reason
