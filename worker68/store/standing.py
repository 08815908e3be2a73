"""Where waiting jobs stand: what is before each of them in its lane. For people who ask; nothing here is on a job's way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, select, text, tuple_, union_all

from worker68.jobs.job import is_shared_lane
from worker68.jobs.states import State
from worker68.store.engine import reading
from worker68.store.tables import IN_LANE, NOT_DUE, SENDING, jobs

#: More than this many before a job are said to be "more than" so many: counting them has a price.
COUNTED_AHEAD = 10_000


#: Lanes that are looked into in one statement; SQLite takes 500 parts at most.
LANES_PER_STATEMENT = 100

#: Of a lane at least so many are looked at: those that back off stand before others of another state.
LEAST_OF_A_LANE = 20

#: The order of a lane, which its index has. Without it PostgreSQL may read through all jobs where it takes many to be in this lane.
_PLACE = (jobs.c.step.desc(), jobs.c.priority, jobs.c.seq)

#: Goes from lane to lane of an account along the index, up to a number of lanes.
_LANES = f"""
WITH RECURSIVE found(lane, number) AS (
    SELECT min(lane), 1 FROM jobs WHERE account = :account AND {IN_LANE}
    UNION ALL
    SELECT (SELECT min(jobs.lane) FROM jobs WHERE account = :account AND {IN_LANE} AND jobs.lane > found.lane), number + 1
    FROM found WHERE found.lane IS NOT NULL AND number < :most
)
SELECT lane FROM found WHERE lane IS NOT NULL
"""


@dataclass(frozen=True)
class Standing:
    """A waiting job and its place: ``place`` is 0 for the first of its lane, and for one that stands in none (not due yet)."""

    seq: int
    account: str
    lane: str | None
    place: int


@dataclass(frozen=True)
class Ahead:
    """What a job waits for in its lane. ``under_way``: the first one has begun. ``reason``: why that one waits.

    ``count`` is one more than ``COUNTED_AHEAD`` where there are more than that.
    """

    seq: int
    job_id: str
    under_way: bool
    reason: str | None
    count: int


def list_waiting(engine: Engine, accounts: Sequence[str], state: str | None, limit: int) -> list[Standing]:
    """Return up to ``limit`` waiting jobs of these accounts, the first of each lane first, then the second of each, and so on.

    ``state``: only those that are ready, or deferred. What is not due yet comes by its time, after what backs off. What it costs
    grows with ``limit`` and the number of accounts, not with what waits.
    """
    lanes: list[tuple[str, str]] = []
    late: list[Standing] = []
    with reading(engine) as connection:
        for account in accounts:
            names = connection.scalars(text(_LANES), {"account": account, "most": limit})
            lanes += [(account, lane) for lane in names]
            if state != State.READY:
                due = select(jobs.c.seq).where(jobs.c.account == account, NOT_DUE).order_by(jobs.c.due_at).limit(limit)
                late += [Standing(seq, account, None, 0) for seq in connection.scalars(due)]
        found: list[Standing] = []
        depth = max(LEAST_OF_A_LANE, limit // max(1, len(lanes)))
        for start in range(0, len(lanes), LANES_PER_STATEMENT):
            chunk = lanes[start : start + LANES_PER_STATEMENT]
            places: Counter[tuple[str, str]] = Counter()
            for row in connection.execute(_first_of(chunk, depth)):
                if state in (None, row.state):
                    found.append(Standing(row.seq, row.account, row.lane, places[row.account, row.lane]))
                places[row.account, row.lane] += 1
    found.sort(key=lambda one: (one.place, one.seq))
    return (found + late)[:limit]


def count_in_lanes(engine: Engine, lanes: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return how many jobs wait in each of these lanes (account, lane); one more than ``COUNTED_AHEAD`` for more than that."""
    found: dict[tuple[str, str], int] = {}
    with reading(engine) as connection:
        for account, lane in lanes:
            some = select(jobs.c.seq).where(jobs.c.account == account, jobs.c.lane == lane, IN_LANE).order_by(*_PLACE)
            counted = select(func.count()).select_from(some.limit(COUNTED_AHEAD + 1).subquery())
            found[account, lane] = connection.scalar(counted) or 0
    return found


def _first_of(lanes: Sequence[tuple[str, str]], depth: int) -> Any:
    parts = []
    for account, lane in lanes:
        columns = (jobs.c.seq, jobs.c.account, jobs.c.lane, jobs.c.state, jobs.c.step, jobs.c.priority)
        one = select(*columns).where(jobs.c.account == account, jobs.c.lane == lane, IN_LANE)
        part = one.order_by(*_PLACE).limit(depth).subquery()
        parts.append(select(part))
    whole = union_all(*parts).subquery()
    return select(whole).order_by(whole.c.account, whole.c.lane, whole.c.step.desc(), whole.c.priority, whole.c.seq)


def find_ahead(engine: Engine, seqs: Sequence[int]) -> dict[int, Ahead]:
    """Return for each of these jobs that waits behind others of its lane what is before it."""
    columns = (jobs.c.seq, jobs.c.account, jobs.c.lane, jobs.c.step, jobs.c.priority)
    waiting = select(*columns).where(jobs.c.seq.in_(seqs), IN_LANE)
    found: dict[int, Ahead] = {}
    with reading(engine) as connection:
        for row in connection.execute(waiting).all():
            if not is_shared_lane(row.lane) and (ahead := _ahead_of(connection, row)) is not None:
                found[row.seq] = ahead
    return found


def find_reasons_beside(engine: Engine, seqs: Sequence[int]) -> dict[int, str]:
    """Return for each of these jobs that opted out of order why the first of its lane waits: the same holds up all of them."""
    columns = (jobs.c.seq, jobs.c.account, jobs.c.lane)
    waiting = select(*columns).where(jobs.c.seq.in_(seqs), jobs.c.state == State.READY)
    found: dict[int, str] = {}
    with reading(engine) as connection:
        for row in connection.execute(waiting).all():
            if is_shared_lane(row.lane):
                lane = (jobs.c.account == row.account, jobs.c.lane == row.lane, IN_LANE, jobs.c.state == State.READY)
                if reason := connection.scalar(select(jobs.c.reason).where(*lane).order_by(*_PLACE).limit(1)):
                    found[row.seq] = reason
    return found


def _ahead_of(connection: Connection, row: Any) -> Ahead | None:
    lane = (jobs.c.account == row.account) & (jobs.c.lane == row.lane)
    before = tuple_(-jobs.c.step, jobs.c.priority, jobs.c.seq) < tuple_(-row.step, row.priority, row.seq)
    fields = (jobs.c.seq, jobs.c.job_id, jobs.c.state, jobs.c.reason)
    begun = connection.execute(select(*fields).where(lane, SENDING).order_by(*_PLACE).limit(1)).first()
    first = connection.execute(select(*fields).where(lane, IN_LANE, before).order_by(*_PLACE).limit(1)).first()
    head = begun or first
    if head is None:
        return None
    some = (
        select(jobs.c.seq).where(lane, IN_LANE, before).order_by(*_PLACE).limit(COUNTED_AHEAD + 1 - (begun is not None))
    )
    count = connection.scalar(select(func.count()).select_from(some.subquery())) or 0
    return Ahead(head.seq, head.job_id, head.state == State.SENDING, head.reason, count + (begun is not None))
