"""What memory knows of waiting jobs: every lane, but only the jobs whose turn comes soon."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.parts.clock import Clock
from tests.parts.jobs import send
from worker68.clock import monotonic, utc_now
from worker68.execution import backlog as backlog_module
from worker68.execution.backlog import LANE_DEPTH, LANES_LOADED, LOOK_AGAIN_SECONDS, MOST_IN_MEMORY, Backlog
from worker68.execution.lanes import Kind, head_of
from worker68.execution.under_way import Capacity, UnderWay
from worker68.jobs.job import Job
from worker68.jobs.retry import BACK_OFF_CAP_SECONDS
from worker68.store.lanes import UnknownHead

PLENTY = 10_000

KIND: Kind = head_of(send(1)).kind


@pytest.fixture
def backlog() -> Backlog:
    return Backlog(UnderWay(Capacity(PLENTY)))


def every(_kind: Kind) -> bool:
    return True


def take_all(backlog: Backlog) -> list[int]:
    """Let the jobs in memory have their turns, one after the other; return their numbers."""
    taken = []
    while (found := backlog.first(every)) is not None and found[2] is not None:
        taken.append(found[2].seq)
        backlog.take(found[1], found[2])
        backlog.release(found[2])
    return taken


def learn(backlog: Backlog, jobs: Iterable[Job]) -> None:
    for first in jobs:
        backlog.learn(first.lane, head_of(first), 0.0)


def load(backlog: Backlog, jobs: list[Job]) -> None:
    """Load the lanes whose turn is next from SQL, which has these jobs."""
    lanes = backlog.unloaded(KIND)
    depth = backlog.begin_load(lanes)
    names = {lane.name for lane in lanes}
    of_lanes: dict[str, list[Job]] = {}
    for waiting in jobs:
        if waiting.lane in names:
            of_lanes.setdefault(waiting.lane, []).append(waiting)
    backlog.end_load(lanes, depth, [waiting for lane in of_lanes.values() for waiting in lane[:depth]])


def test_of_many_jobs_in_many_lanes_some_are_in_memory(backlog: Backlog) -> None:
    for seq in range(1, MOST_IN_MEMORY + 500):
        backlog.enter(send(seq, chat=seq))
    assert len(backlog) == MOST_IN_MEMORY
    assert len(backlog.lanes()) == MOST_IN_MEMORY + 499


def test_of_a_long_lane_the_first_jobs_are_in_memory(backlog: Backlog) -> None:
    for seq in range(1, 5 * LANE_DEPTH):
        backlog.enter(send(seq))
    assert len(backlog) == LANE_DEPTH
    assert take_all(backlog) == list(range(1, LANE_DEPTH + 1))
    found = backlog.first(every)
    assert found is not None
    assert found[2] is None, "SQL alone holds the next one"


def test_the_lanes_whose_turn_is_next_are_loaded(backlog: Backlog) -> None:
    jobs = [send(seq, chat=seq) for seq in range(1, 3 * LANES_LOADED)]
    learn(backlog, jobs)
    assert len(backlog) == 0
    load(backlog, jobs)
    assert take_all(backlog) == list(range(1, LANES_LOADED + 1))


def test_a_job_that_comes_before_what_sql_holds_has_its_turn_first(backlog: Backlog) -> None:
    waiting = [send(1, priority=5), send(2, priority=5)]
    learn(backlog, waiting[:1])
    backlog.enter(send(3, priority=0))
    backlog.enter(send(4, priority=9))
    assert take_all(backlog) == [3]
    load(backlog, [*waiting, send(4, priority=9)])
    assert take_all(backlog) == [1, 2, 4]


def test_what_was_unloaded_is_loaded_again_as_sql_has_it_then(backlog: Backlog) -> None:
    backlog.enter(send(1))
    backlog.enter(send(2, chat=2))
    backlog.unload()
    assert len(backlog) == 0
    load(backlog, [send(2, chat=2)])
    assert take_all(backlog) == [2]
    assert backlog.lanes() == [], "a lane of which SQL has nothing is forgotten"


def test_a_lane_of_which_nothing_may_start_is_not_loaded_again_and_again(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQL gives a job that has left while it was read, and more may be behind it."""
    monkeypatch.setattr(backlog_module, "LANE_DEPTH", 1)
    first = send(1)
    learn(backlog, [first])
    lanes = backlog.unloaded(KIND)
    depth = backlog.begin_load(lanes)
    backlog.forget({1, 2})
    backlog.end_load(lanes, depth, [first, send(2)][:depth])
    assert backlog.first(every) is None
    assert backlog.wakes_at is not None


def test_a_job_that_ended_in_sql_alone_keeps_its_lane_no_longer_than_to_the_next_look_up(backlog: Backlog) -> None:
    ended, waits = send(1), send(2)
    backlog.enter(ended)
    backlog.put_back(ended, monotonic() + 3600.0, "backs off")
    backlog.unload()
    assert backlog.first(every) is None
    backlog.begin_look_up()
    learn(backlog, [waits])
    load(backlog, [waits])
    assert take_all(backlog) == [2]


def unknown(first: Job) -> UnknownHead:
    return UnknownHead(first.lane, first.seq, "worker68.newer", first.kind.job_class, first.step, first.priority)


def load_first(backlog: Backlog, found: Job | UnknownHead) -> None:
    """Load the lane whose turn is next, whatever its kind: SQL has this job as the first."""
    lanes = backlog.unloaded(backlog.open_kinds()[0])
    backlog.end_load(lanes, backlog.begin_load(lanes), [found])


def test_behind_a_job_of_an_unknown_task_none_of_its_lane_has_its_turn(backlog: Backlog) -> None:
    backlog.hold(unknown(send(2)))
    for seq, chat in ((3, 1), (4, 2)):
        backlog.enter(send(seq, chat=chat))
    assert take_all(backlog) == [4]
    backlog.enter(send(1))
    assert take_all(backlog) == [1], "it comes before it"
    assert backlog.first(every) is None
    assert "worker68.newer" in (backlog.why_rests(2) or "")


def test_a_lane_that_is_loaded_up_to_a_job_of_an_unknown_task_waits_behind_it(backlog: Backlog) -> None:
    learn(backlog, [send(1)])
    lanes = backlog.unloaded(KIND)
    depth = backlog.begin_load(lanes)
    backlog.enter(send(4))
    backlog.end_load(lanes, depth, [send(1), unknown(send(2))])
    assert take_all(backlog) == [1]
    backlog.enter(send(5))
    assert take_all(backlog) == []
    assert backlog.first(every) is None


def test_a_lane_goes_on_when_its_job_of_an_unknown_task_has_ended(backlog: Backlog) -> None:
    backlog.hold(unknown(send(1)))
    backlog.enter(send(2))
    assert backlog.forget([1]) == 1
    load_first(backlog, send(2))
    assert take_all(backlog) == [2]


def test_a_lane_is_loaded_again_in_case_its_job_of_an_unknown_task_has_ended(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.execution.backlog")
    backlog.hold(unknown(send(1)))
    for wanted in (unknown(send(1)), send(2)):
        backlog.wake()
        assert backlog.first(every) is None
        clock.pass_by(LOOK_AGAIN_SECONDS)
        backlog.wake()
        load_first(backlog, wanted)
    assert take_all(backlog) == [2]


def test_in_a_lane_without_order_none_waits_for_an_unknown_task(backlog: Backlog) -> None:
    first, second = (send(seq, ordered=False) for seq in (1, 2))
    backlog.hold(unknown(first))
    load_first(backlog, second)
    assert take_all(backlog) == [2]


def test_what_came_while_sql_was_looked_up_is_not_passed_over(backlog: Backlog) -> None:
    learn(backlog, [send(1)])
    backlog.begin_look_up()
    waiting = [send(2, priority=1), send(3, priority=5)]
    backlog.enter(waiting[0])  # SQL was read before it came there
    learn(backlog, [waiting[1]])
    last = send(4, priority=2)
    backlog.enter(last)
    assert take_all(backlog) == [], "SQL holds one that comes before it"
    load(backlog, [waiting[0], last, waiting[1]])
    assert take_all(backlog) == [2, 4, 3]


def test_who_forgets_says_whether_anything_was_known(backlog: Backlog) -> None:
    rests = send(2, chat=2)
    backlog.enter(send(1))
    backlog.put_back(rests, monotonic() + 3600.0, "backs off")
    backlog.unload()
    backlog.enter(send(3, chat=3))
    assert backlog.forget({2, 3, 99}) == 2
    assert backlog.forget({2, 3, 99}) == 0


def test_a_job_that_was_due_rests_no_longer_than_a_back_off_where_the_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, backlog = Clock(), Backlog(UnderWay(Capacity(PLENTY)))
    clock.drive(monkeypatch, "worker68.execution.backlog")
    backlog.enter(replace(send(1), due_at=utc_now() + dt.timedelta(hours=1)))
    assert backlog.first(every) is None
    clock.pass_by(BACK_OFF_CAP_SECONDS + 1.0)
    backlog.wake()
    assert take_all(backlog) == [1]


def test_a_rest_that_is_over_does_not_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row still names a later time, which a clock that was ahead has set."""
    clock, backlog = Clock(), Backlog(UnderWay(Capacity(PLENTY)))
    clock.drive(monkeypatch, "worker68.execution.backlog")
    waiting = send(1)
    backlog.learn(waiting.lane, head_of(waiting), 5.0)
    assert backlog.first(lambda kind: True) is None
    clock.pass_by(6.0)
    backlog.wake()

    backlog.learn(waiting.lane, head_of(waiting), 5.0)

    assert backlog.first(lambda kind: True) is not None
