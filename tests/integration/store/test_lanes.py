"""The lanes of an account as SQL has them: which there are, and the first jobs of each."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import update

from tests.parts.jobs import MUTE, NOW, SYNC, message, mute_fields, send_fields
from tests.parts.ledger import Ledger
from worker68.jobs.job import Job
from worker68.jobs.task import Nature
from worker68.store import lanes
from worker68.store.lanes import LaneHead, UnknownHead, find_lanes, load_lanes
from worker68.store.statements import attempts
from worker68.store.tables import jobs

LATER = NOW + dt.timedelta(minutes=10)


def to(chat: int, **fields: object) -> dict[str, object]:
    return send_fields(chat={"type": "group", "id": chat}, **fields)


def find(ledger: Ledger, after: str = "", most: int = 100) -> list[LaneHead]:
    heads, _ = find_lanes(ledger.engine, "main", after, most)
    return sorted([head for head in heads if isinstance(head, LaneHead)], key=lambda head: head.lane)


def test_a_lane_is_ordered_by_priority_and_arrival(ledger: Ledger) -> None:
    made = ledger.arrive(*[message(priority=priority) for priority in (5, 0, 9, 5, 0)])
    seqs = [job.seq for job in made]
    assert ledger.lane() == [seqs[1], seqs[4], seqs[0], seqs[3], seqs[2]]


def test_the_depth_holds_for_each_lane(ledger: Ledger) -> None:
    made = ledger.arrive(*[message(kwargs=to(chat)) for chat in (1, 2, 1, 2, 1, 1)], message(SYNC, {}))
    seqs = [job.seq for job in made]
    assert ledger.lane(depth=2) == [seqs[0], seqs[1], seqs[2], seqs[3], seqs[6]]
    assert [job.seq for job in load_lanes(ledger.engine, "main", 1, [made[1].lane])] == [seqs[1]]
    assert load_lanes(ledger.engine, "other", 5, [made[1].lane]) == []
    assert load_lanes(ledger.engine, "main", 5, []) == []


def test_heads_are_found_of_more_lanes_than_one_statement_takes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LANES_PER_STATEMENT", 3)
    made = ledger.arrive(*[message(kwargs=to(chat)) for chat in (*range(1, 9), *range(1, 9))])
    assert ledger.lane(depth=1) == [job.seq for job in made[:8]]
    assert ledger.lane(depth=5) == [job.seq for job in made]


def test_the_first_job_of_each_lane_is_found(ledger: Ledger) -> None:
    made = ledger.arrive(
        message(kwargs=to(1), priority=5), message(kwargs=to(1)), message(kwargs=to(2)), message(MUTE, mute_fields())
    )
    heads = find(ledger)
    assert [(head.lane, head.seq) for head in heads] == [
        (made[3].lane, made[3].seq),
        (made[1].lane, made[1].seq),
        (made[2].lane, made[2].seq),
    ]
    assert [head.now.nature for head in heads] == [Nature.CHANGE, Nature.SEND, Nature.SEND]
    assert find_lanes(ledger.engine, "other", "", 100) == ([], None)


def test_lanes_are_found_part_by_part(ledger: Ledger) -> None:
    made = ledger.arrive(*[message(kwargs=to(chat)) for chat in (1, 2, 3, 1)])
    found: list[int] = []
    after: str | None = ""
    parts = 0
    while after is not None:
        heads, after = find_lanes(ledger.engine, "main", after, 2)
        found += [head.seq for head in heads]
        parts += 1
    assert (sorted(found), parts) == ([job.seq for job in made[:3]], 2)


def test_the_step_of_a_task_whose_steps_follow_from_its_fields_is_known(ledger: Ledger) -> None:
    (announced,) = ledger.arrive(message("worker68.mute_group", {"group_id": 1}))
    (head,) = find(ledger)
    assert head.now == announced.now
    attempt = ledger.must_begin(announced)
    ledger.run(lambda connection: attempts.advance(connection, attempt, {"muted": True}, NOW))
    (head,) = find(ledger)
    assert (head.step, head.now.nature) == (1, Nature.SEND)


def test_a_first_job_that_backs_off_says_until_when(ledger: Ledger) -> None:
    first, _ = ledger.arrive(message(), message())
    attempt = ledger.must_begin(first)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, LATER, "busy", "busy", NOW))
    (head,) = find(ledger)
    assert (head.seq, head.due_at) == (first.seq, LATER)


def test_a_first_job_that_cannot_be_read_hides_no_lane(ledger: Ledger) -> None:
    (bad,) = ledger.arrive(message("worker68.mute_group", {"group_id": 1}))
    ledger.run(lambda connection: connection.execute(update(jobs).where(jobs.c.seq == bad.seq).values(fields="{")))
    (head,) = find(ledger)
    assert head.lane == bad.lane
    assert load_lanes(ledger.engine, "main", 5, [head.lane]) == []
    assert ledger.row(bad.seq).state == "ended"


def test_a_job_that_cannot_be_read_hides_none_of_those_behind_it(ledger: Ledger) -> None:
    unreadable, *rest = ledger.arrive(*[message() for _ in range(4)])
    ledger.run(
        lambda connection: connection.execute(update(jobs).where(jobs.c.seq == unreadable.seq).values(fields="{"))
    )
    assert [job.seq for job in load_lanes(ledger.engine, "main", 2, [unreadable.lane])] == [job.seq for job in rest[:2]]
    assert ledger.row(unreadable.seq).state == "ended"


def make_unknown(ledger: Ledger, job: Job) -> UnknownHead:
    """Let this job be of a task that a newer version has; return how it is found then."""
    ledger.run(lambda connection: connection.execute(update(jobs).where(jobs.c.seq == job.seq).values(task="new")))
    return UnknownHead(job.lane, job.seq, "new", job.kind.job_class, job.step, job.priority)


@pytest.mark.parametrize("depth", [2, 3, 9])
def test_a_lane_is_loaded_up_to_the_first_job_of_an_unknown_task(ledger: Ledger, depth: int) -> None:
    *made, elsewhere = ledger.arrive(*[message(kwargs=to(chat)) for chat in (1, 1, 1, 1, 2)])
    unknown = make_unknown(ledger, made[1])
    make_unknown(ledger, made[3])
    loaded = load_lanes(ledger.engine, "main", depth, [made[0].lane, elsewhere.lane])
    assert loaded == [made[0], unknown, elsewhere]


def test_in_a_lane_without_order_an_unknown_task_holds_nothing_up(ledger: Ledger) -> None:
    made = ledger.arrive(*[message(kwargs=to(1, ordered=False)) for _ in range(3)])
    make_unknown(ledger, made[0])
    assert load_lanes(ledger.engine, "main", 2, [made[0].lane]) == made[1:]


def test_a_lane_whose_first_job_is_of_an_unknown_task_is_found_as_such(ledger: Ledger) -> None:
    first, second = ledger.arrive(message(kwargs=to(1)), message(kwargs=to(2)))
    unknown = make_unknown(ledger, first)
    found, after = find_lanes(ledger.engine, "main", "", 100)
    assert found[0] == unknown
    assert ([head.seq for head in find(ledger)], after) == ([second.seq], None)
