"""Where waiting jobs stand: what is before each of them in its lane. For people who ask; nothing here is on a job's way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, select, tuple_

from worker68.jobs.job import is_shared_lane
from worker68.jobs.states import State
from worker68.store.engine import reading
from worker68.store.tables import IN_LANE, SENDING, jobs

#: More than this many before a job are said to be "more than" so many: counting them has a price.
COUNTED_AHEAD = 10_000


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
    place = (jobs.c.step.desc(), jobs.c.priority, jobs.c.seq)
    found: dict[int, str] = {}
    with reading(engine) as connection:
        for row in connection.execute(waiting).all():
            if is_shared_lane(row.lane):
                lane = (jobs.c.account == row.account, jobs.c.lane == row.lane, IN_LANE, jobs.c.state == State.READY)
                if reason := connection.scalar(select(jobs.c.reason).where(*lane).order_by(*place).limit(1)):
                    found[row.seq] = reason
    return found


def _ahead_of(connection: Connection, row: Any) -> Ahead | None:
    lane = (jobs.c.account == row.account) & (jobs.c.lane == row.lane)
    before = tuple_(-jobs.c.step, jobs.c.priority, jobs.c.seq) < tuple_(-row.step, row.priority, row.seq)
    place = (jobs.c.step.desc(), jobs.c.priority, jobs.c.seq)
    fields = (jobs.c.seq, jobs.c.job_id, jobs.c.state, jobs.c.reason)
    begun = connection.execute(select(*fields).where(lane, SENDING).order_by(*place).limit(1)).first()
    first = connection.execute(select(*fields).where(lane, IN_LANE, before).order_by(*place).limit(1)).first()
    head = begun or first
    if head is None:
        return None
    some = select(jobs.c.seq).where(lane, IN_LANE, before).limit(COUNTED_AHEAD + 1 - (begun is not None))
    count = connection.scalar(select(func.count()).select_from(some.subquery())) or 0
    return Ahead(head.seq, head.job_id, head.state == State.SENDING, head.reason, count + (begun is not None))
