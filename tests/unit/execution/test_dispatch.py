"""What is ready, and in which order: lanes, classes, priorities, limits, room, pauses, and jobs whose time is over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.parts.clock import Clock
from tests.parts.jobs import NOW, SYNC, account, job, mute, send
from tests.parts.onloop import in_pool, run
from tests.parts.slots import Slots, refuse
from worker68.errors import RedisAway
from worker68.execution import dispatch as dispatch_module
from worker68.execution import reasons
from worker68.execution.backlog import LANE_DEPTH
from worker68.execution.dispatch import Dispatch
from worker68.execution.lanes import head_of
from worker68.execution.slots import Blocked, Choice
from worker68.execution.under_way import Capacity
from worker68.jobs.job import Job
from worker68.jobs.states import State
from worker68.limits.limiter import Ask, Grant, Refusal
from worker68.limits.rates import parse_limits

PLENTY = 1000


class Room:
    """A dispatch over a waiting room that is a list."""

    def __init__(self, **settings: Any) -> None:
        self.slots = Slots()
        self.sql: list[Job] = []
        self.loads = 0
        self.capacity = Capacity(PLENTY)
        owner = account(**({"max_in_flight": PLENTY} | settings))
        self.dispatch = Dispatch(owner, self.slots.as_requests(), in_pool(self.load), self.capacity)

    def load(self, lanes: Sequence[str], depth: int) -> list[Job]:
        self.loads += 1
        waiting = sorted((there for there in self.sql if there.lane in lanes), key=lambda j: (j.priority, j.seq))
        return [there for lane in lanes for there in [w for w in waiting if w.lane == lane][:depth]]

    def learn(self) -> None:
        """Let the dispatch know of all lanes, as SQL has them."""
        self.dispatch.unload()
        firsts: dict[str, Job] = {}
        for waiting in sorted(self.sql, key=lambda j: (j.priority, j.seq)):
            firsts.setdefault(waiting.lane, waiting)
        self.dispatch.learn((lane, head_of(first), due_in(first)) for lane, first in firsts.items())

    def add(self, *jobs: Job) -> None:
        self.dispatch.add(jobs)

    def look(self, room: int = PLENTY, one_send_per_chat: bool = False, now: dt.datetime = NOW) -> Choice:
        """Choose while the worker has room for so many more jobs."""
        self.capacity.concurrency = self.capacity.occupied + room
        return run(self.dispatch.choose(one_send_per_chat, now))

    def choose(self, room: int = PLENTY, one_send_per_chat: bool = False) -> list[int]:
        """Return the numbers of the jobs that may start now."""
        return [ready.job.seq for ready in self.look(room, one_send_per_chat).ready]


def due_in(waiting: Job) -> float:
    return 0.0 if waiting.due_at is None else (waiting.due_at - dt.datetime.now(dt.UTC)).total_seconds()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.execution.dispatch")
    clock.drive(monkeypatch, "worker68.execution.backlog")
    return clock


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_lane_runs_one_at_a_time_in_its_order(room: Room) -> None:
    jobs = [send(3), send(1), send(2)]
    room.add(*jobs)
    assert room.choose() == [1]
    assert room.choose() == []
    room.dispatch.finish(jobs[1])
    assert room.choose() == [2]
    room.dispatch.finish(jobs[2])
    assert room.choose() == [3]


def test_jobs_take_of_the_workers_capacity_until_only_their_end_is_to_be_written_down(room: Room) -> None:
    room.add(send(1, chat=1), send(2, chat=2), send(3, chat=3))
    assert len(room.choose(room=2)) == 2
    assert room.look(room=0).short
    room.capacity.concurrency = 2
    room.dispatch.make_room(send(1))
    room.dispatch.make_room(send(1))
    assert room.capacity.free == 1
    room.dispatch.finish(send(1))
    assert room.capacity.free == 1
    room.dispatch.put_back(send(2, chat=2), 3600.0)
    assert room.capacity.free == 2
    assert not room.look(room=2).short


def test_what_the_limits_refuse_takes_no_capacity(room: Room) -> None:
    room.slots.rule = refuse("account", 60.0)
    room.add(send(1), send(2, chat=2))
    assert room.choose(room=2) == []
    assert room.capacity.occupied == 0


def test_priority_comes_before_arrival_within_a_lane(room: Room) -> None:
    room.add(send(1, priority=5), send(2, priority=0))
    assert room.choose() == [2]


def test_lanes_run_beside_each_other(room: Room) -> None:
    room.add(send(1, chat=1), send(2, chat=2), mute(3, group=1), job(4, SYNC))
    assert sorted(room.choose()) == [1, 2, 3, 4]


def test_classes_come_first_then_priority_then_the_lane_that_has_waited_longest(room: Room) -> None:
    room.add(job(1, SYNC), send(2, chat=2, priority=5), send(3, chat=3), send(4, chat=4), mute(5, group=5, priority=9))
    assert room.choose() == [5, 3, 4, 2, 1]


def test_the_lane_that_has_waited_longest_goes_first_whatever_its_numbers(room: Room) -> None:
    room.add(send(10, chat=1))
    room.add(send(1, chat=2))
    assert room.choose(room=1) == [10]
    room.add(send(2, chat=1))
    room.dispatch.finish(send(10, chat=1))
    assert room.choose(room=1) == [1]


def test_jobs_that_opted_out_of_order_run_all_at_once(room: Room) -> None:
    room.add(*[send(seq, ordered=False) for seq in (1, 2, 3)], send(4))
    assert sorted(room.choose()) == [1, 2, 3, 4]


def test_reads_of_one_subject_run_one_at_a_time_even_out_of_order(room: Room) -> None:
    room.add(job(1, SYNC, {"ordered": False}), job(2, SYNC, {"ordered": False}))
    assert room.choose() == [1]


def test_an_old_bridge_gets_one_send_a_chat_at_a_time(room: Room) -> None:
    first = send(1, ordered=False)
    room.add(first, send(2, ordered=False), send(3), send(4, chat=2), mute(5))
    assert sorted(room.choose(one_send_per_chat=True)) == [1, 4, 5]
    assert room.choose(one_send_per_chat=True) == []


def test_the_next_send_of_an_old_bridge_starts_when_the_first_has_left(room: Room) -> None:
    room.add(send(1, ordered=False), send(2, ordered=False))
    assert room.choose(one_send_per_chat=True) == [1]
    room.dispatch.finish(send(1, ordered=False))
    assert room.choose(one_send_per_chat=True) == [2]


def test_no_more_than_the_room_given(room: Room) -> None:
    room.add(*[send(seq, chat=seq) for seq in range(1, 6)])
    assert room.choose(room=0) == []
    assert room.choose(room=-3) == []
    assert room.choose(room=2) == [1, 2]
    assert room.slots.asked == 2, "no slot is taken for what cannot start"


def test_no_more_than_the_account_may_have_in_flight() -> None:
    room = Room(max_in_flight=2)
    room.add(*[send(seq, chat=seq) for seq in range(1, 6)])
    assert room.choose() == [1, 2]
    assert room.dispatch.in_flight == 2
    assert room.choose() == []
    room.dispatch.finish(send(1, chat=1))
    assert room.choose() == [3]


def test_what_only_waits_for_its_end_to_be_written_down_takes_no_room_but_holds_its_lane() -> None:
    room = Room(max_in_flight=1)
    first, behind, other = send(1, chat=1), send(2, chat=1), send(3, chat=2)
    room.add(first, behind, other)
    assert room.choose() == [1]
    room.dispatch.make_room(first)
    assert (room.dispatch.in_flight, room.dispatch.occupied) == (1, 0)
    assert room.choose() == [3]
    assert (room.dispatch.in_flight, room.dispatch.occupied) == (2, 1)
    room.dispatch.finish(other)
    assert room.choose() == []
    room.dispatch.finish(first)
    assert (room.dispatch.in_flight, room.dispatch.occupied) == (0, 0)
    assert room.choose() == [2]


@pytest.mark.parametrize(
    ("others", "room_in_the_worker", "waits"),
    [
        ([], PLENTY, False),
        ([send(2, chat=1)], PLENTY, False),  # behind it in its lane
        ([send(2, chat=2)], PLENTY, True),
        ([], 1, True),  # of another account
    ],
)
def test_room_is_made_for_what_waits_for_nothing_else(
    room: Room, others: list[Job], room_in_the_worker: int, waits: bool
) -> None:
    first = send(1, chat=1)
    room.add(first)
    assert room.choose() == [1]
    room.add(*others)
    room.capacity.concurrency = room_in_the_worker
    assert room.dispatch.make_room(first) is waits


def test_room_is_made_for_those_of_a_shared_lane(room: Room) -> None:
    first, second = (replace(send(seq, chat=1), ordered=False) for seq in (1, 2))
    room.add(first, second)
    assert room.choose(room=1) == [1]
    room.capacity.concurrency = PLENTY
    assert room.dispatch.make_room(first)


def test_what_has_left_takes_no_room_twice() -> None:
    room = Room(max_in_flight=1)
    room.add(send(1), send(2, chat=2), send(3, chat=3))
    assert room.choose() == [1]
    room.dispatch.finish(send(1))
    room.dispatch.make_room(send(1))
    assert room.choose() == [2]
    assert room.choose() == []


def test_a_granted_slot_is_the_time_of_the_write(room: Room, clock: Clock) -> None:
    room.slots.rule = lambda ask: Grant(1.5)
    room.add(send(1))
    (ready,) = room.look().ready
    assert (ready.slot.write_at, ready.slot.granted_at) == (clock.now + 1.5, clock.now)


@pytest.mark.parametrize(
    ("limit", "free"), [("account", []), ("chat", [4]), ("send", [3, 4]), ("moderate", [1, 2, 4]), ("read", [1, 2, 3])]
)
def test_a_limit_holds_up_what_it_is_for_and_nothing_else(
    room: Room, clock: Clock, limit: str, free: list[int]
) -> None:
    room.slots.rule = refuse(limit, 60)
    room.add(send(1, chat=1), send(2, chat=2), mute(3, group=3), job(4, SYNC))
    choice = room.look()
    assert sorted(ready.job.seq for ready in choice.ready) == free
    assert choice.look_again_at == clock.now + 60
    asked = room.slots.asked
    assert room.choose() == []
    assert room.slots.asked == asked, "a limit that said when to ask again is not asked before"


def test_a_chats_limit_holds_up_that_chat_only(room: Room) -> None:
    def rule(ask: Ask) -> Grant | Refusal:
        return Refusal("chat", "key", 60) if ask.chat is not None and ask.chat.id == 1 else Grant(0.0)

    room.slots.rule = rule
    room.add(send(1, chat=1), mute(2, group=1), send(3, chat=2))
    assert room.choose() == [3]
    assert set(room.dispatch.explain()) == {1, 2}


def test_a_limit_that_is_over_is_asked_again(room: Room) -> None:
    room.slots.rule = refuse("account", 0.0)
    room.add(send(1))
    assert room.choose() == []
    room.slots.rule = lambda ask: Grant(0.0)
    assert room.choose() == [1]


def test_what_was_put_back_keeps_its_place(room: Room) -> None:
    first = send(1)
    room.add(first, send(2))
    assert room.choose() == [1]
    room.dispatch.put_back(first, 0.0)
    assert room.choose() == [1]


def test_what_rests_holds_its_lane_up_until_its_time(room: Room, clock: Clock) -> None:
    first = send(1)
    room.add(first, send(2), send(3, chat=2))
    room.choose()
    room.dispatch.put_back(replace(first, attempts=1), 60.0)
    choice = room.look()
    assert choice.ready == []
    assert choice.look_again_at == clock.now + 60
    assert room.dispatch.explain()[1] == "backing off after an attempt"
    clock.pass_by(60)
    assert room.choose() == [1]


def test_without_order_nobody_waits_for_one_that_rests(room: Room) -> None:
    first = send(1, ordered=False)
    room.add(first, send(2, ordered=False))
    assert room.choose(room=1) == [1]
    room.dispatch.put_back(replace(first, attempts=1), 60.0)
    room.add(send(3, ordered=False))
    assert room.choose() == [2, 3]
    assert room.dispatch.explain() == {1: "backing off after an attempt"}


def test_without_order_the_rest_of_a_long_lane_goes_past_what_rests(room: Room) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    tired = send(1, ordered=False, state=State.DEFERRED, attempts=1, due_at=later)
    others = [send(seq, ordered=False) for seq in range(2, 2 * LANE_DEPTH)]
    room.sql = [tired, *others]
    room.learn()
    assert room.choose() == list(range(2, 2 * LANE_DEPTH))


def test_says_why_a_job_was_put_back_that_was_never_tried(room: Room) -> None:
    room.add(send(1))
    room.choose()
    room.dispatch.put_back(send(1), 60.0, "its slot has passed")
    assert room.dispatch.explain() == {1: "its slot has passed"}


def test_a_job_that_backs_off_in_sql_rests_here_too(room: Room) -> None:
    tired = send(1, state=State.DEFERRED, attempts=1, due_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60))
    room.sql = [tired, send(2)]
    room.learn()
    choice = room.look()
    assert choice.ready == []
    assert choice.look_again_at is not None


def test_what_is_there_already_is_not_there_twice(room: Room) -> None:
    room.add(send(1), send(1))
    room.add(send(1))
    assert room.choose() == [1]
    room.add(send(1))
    room.dispatch.finish(send(1))
    assert room.choose() == []


def test_what_somebody_else_ended_takes_no_slot(room: Room) -> None:
    room.add(send(1), send(2), send(3), send(4, chat=2))
    assert room.dispatch.forget({1, 2, 4, 99})
    assert not room.dispatch.forget({99})
    assert room.choose() == [3]
    assert (room.slots.asked, room.dispatch.finished) == (1, 3)


def test_what_is_under_way_is_not_forgotten(room: Room) -> None:
    room.add(send(1), send(2))
    assert room.choose() == [1]
    room.dispatch.forget({1})
    assert (room.choose(), room.dispatch.is_under_way(1)) == ([], True)


def test_is_under_way_from_its_turn_to_its_end(room: Room) -> None:
    room.add(send(1))
    assert not room.dispatch.is_under_way(1)
    room.choose()
    assert room.dispatch.is_under_way(1)
    room.dispatch.finish(send(1))
    assert not room.dispatch.is_under_way(1)
    assert room.dispatch.finished == 1


def test_what_has_expired_comes_out_as_overdue_and_takes_no_slot(room: Room) -> None:
    room.add(send(1, expires_at=NOW), send(2), send(3, chat=2, expires_at=NOW + dt.timedelta(microseconds=1)))
    choice = room.look()
    assert [late.seq for late in choice.overdue] == [1]
    assert sorted(ready.job.seq for ready in choice.ready) == [2, 3], "the next of its lane goes on at once"
    assert room.slots.asked == 2


def test_what_is_older_than_max_age_comes_out_as_overdue() -> None:
    room = Room(max_age=60.0)
    old = NOW - dt.timedelta(seconds=61)
    room.add(
        send(1, chat=1, received_at=old),
        send(2, chat=2, received_at=NOW - dt.timedelta(seconds=60)),
        send(3, chat=3, received_at=old, due_at=NOW - dt.timedelta(seconds=1)),
    )
    choice = room.look()
    assert [late.seq for late in choice.overdue] == [1]
    assert sorted(ready.job.seq for ready in choice.ready) == [2, 3], "a later start is no age"


def test_without_redis_nothing_starts_and_nothing_is_lost(room: Room) -> None:
    def away(_ask: Ask) -> Grant | Refusal:
        raise RedisAway("gone")

    room.slots.rule = away
    room.add(send(1), send(2, chat=2))
    with pytest.raises(RedisAway):
        room.look()
    assert room.dispatch.in_flight == 0
    room.slots.rule = lambda ask: Grant(0.0)
    assert sorted(room.choose()) == [1, 2]


def test_what_is_overdue_is_told_even_without_redis(room: Room) -> None:
    def away(_ask: Ask) -> Grant | Refusal:
        raise RedisAway("gone")

    room.slots.rule = away
    room.add(send(1, expires_at=NOW), send(2, chat=2))
    assert [late.seq for late in room.look().overdue] == [1]


def test_what_sql_says_of_its_lanes_leaves_what_is_under_way(room: Room) -> None:
    room.add(send(1), send(2), send(9, chat=2))
    assert room.choose(room=1) == [1]
    room.sql = [send(1), send(2), send(3)]
    room.learn()
    assert room.choose() == [], "the lane's first is still under way"
    room.sql = [send(2), send(3)]
    room.dispatch.finish(send(1))
    assert room.choose() == [2]


def test_says_why_the_heads_wait(room: Room) -> None:
    room.add(send(1), send(2), send(3, chat=2))
    assert room.dispatch.explain(lambda step: "the bridge is away") == {
        1: "the bridge is away",
        3: "the bridge is away",
    }
    room.slots.rule = refuse("send", 60)
    room.look()
    assert room.dispatch.explain() == dict.fromkeys((1, 3), "limit send of the account's settings")
    room.slots.rule = lambda ask: Grant(0.0)


def test_after_a_lost_connection_sends_start_one_at_a_time(room: Room) -> None:
    """Those that were under way before keep none waiting; reads and changes go on."""
    room.add(*(send(number, chat=number) for number in range(1, 6)), mute(6, group=6), job(7, SYNC))
    assert len(room.choose(room=2)) == 2
    before = [seq for seq in range(1, 7) if room.dispatch.is_under_way(seq)]

    def choose() -> list[int]:
        room.capacity.concurrency = PLENTY
        choice = run(room.dispatch.choose(False, NOW, one_send=True))
        return [ready.job.seq for ready in choice.ready]

    assert before == [1, 6], "a mute goes first"
    assert sorted(choose()) == [2, 7]
    assert choose() == []
    assert room.dispatch.explain()[3] == f"behind job-2, which is under way; {reasons.ONE_SEND}"
    room.dispatch.put_back(send(2, chat=2), 60.0)
    assert choose() == [3]
    room.dispatch.finish(send(1, chat=1))
    assert choose() == []
    assert sorted(room.choose()) == [4, 5], "one is proved"


def test_says_that_another_one_of_its_lane_is_under_way(room: Room) -> None:
    room.add(send(1), send(2))
    room.choose()
    assert room.dispatch.explain() == {2: "behind job-1, which is under way"}


def test_a_job_that_missed_its_slot_may_get_another(room: Room, clock: Clock) -> None:
    room.slots.rule = lambda ask: Grant(1.5)
    slot = run(room.dispatch.take_new_slot(send(1)))
    assert slot is not None
    assert slot.write_at == clock.now + 1.5

    room.slots.rule = lambda ask: Refusal("chat", "key", 30.0)
    assert run(room.dispatch.take_new_slot(send(1))) is None


def test_a_moderation_that_waits_for_the_apis_address_still_passes_sends(room: Room) -> None:
    room.add(mute(1), send(2))
    choice = run(room.dispatch.choose(False, NOW, api_known=False))
    assert choice.ready == []
    assert choice.look_again_at is not None
    assert room.choose() == [1, 2]


def test_a_call_of_the_api_waits_until_its_address_is_known(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_module, "API_PATIENCE_SECONDS", 0.0)
    room.add(mute(1), send(2))
    choice = run(room.dispatch.choose(False, NOW, api_known=False))
    assert [ready.job.seq for ready in choice.ready] == [2]
    assert room.dispatch.explain()[1] == "the bridge has not told the address of the service's API yet"
    assert room.choose() == [1]


def test_a_send_to_any_chat_does_not_hold_up_what_goes_to_none(room: Room) -> None:
    room.add(send(1, chat=1), mute(2), job(3, SYNC, {}))
    assert sorted(room.choose(one_send_per_chat=True)) == [1, 2, 3]


def restart(seq: int) -> Job:
    return job(seq, "worker68.restart_client", {})


class TestExclusive:
    """A restart of the client drops the connection: nothing that must not be repeated may be under way then."""

    def test_waits_until_no_send_or_change_is_under_way_and_lets_nothing_start_meanwhile(self, room: Room) -> None:
        first = send(1)
        room.add(first)
        assert room.choose() == [1]
        room.add(mute(4), restart(2), send(3, chat=2))
        assert room.choose() == [4]  # a lane of its class that has waited longer comes first
        room.dispatch.finish(mute(4))
        assert room.choose() == []
        room.dispatch.finish(first)
        assert room.choose() == [2]
        assert room.choose() == []
        room.dispatch.finish(restart(2))
        assert room.choose() == [3]

    def test_does_not_wait_for_reads(self, room: Room) -> None:
        room.add(job(1, SYNC))
        assert room.choose() == [1]
        room.add(restart(2))
        assert room.choose() == [2]

    def test_holds_nobody_up_while_its_limit_refuses_it(self, room: Room) -> None:
        room.slots.rule = refuse("moderate", 60.0)
        room.add(restart(1), send(2))
        assert room.choose() == [2]

    def test_says_why_others_wait(self, room: Room) -> None:
        room.add(restart(1))
        assert room.choose() == [1]
        room.add(send(2))
        assert room.dispatch.explain() == {2: "until the restart of the client is over"}

    def test_says_why_it_waits(self, room: Room) -> None:
        room.add(send(1))
        assert room.choose() == [1]
        room.add(restart(2))
        assert room.dispatch.explain() == {2: "until no send or change of the account is under way"}

    def test_does_not_wait_for_what_only_others_need(self, room: Room) -> None:
        room.add(restart(1), send(2))
        why = room.dispatch.explain(lambda step: "logged out" if step.needs_login else None)
        assert why == {1: None, 2: "logged out"}


class TestSteps:
    def test_the_announcement_of_a_change_goes_before_all_others_of_its_lane(self, room: Room) -> None:
        change = job(1, "worker68.mute_group", priority=5)
        room.add(change)
        assert room.choose() == [1]
        assert change.chat is not None
        room.add(mute(2, group=change.chat.id, priority=0))
        room.dispatch.put_back(replace(change, step=1), 0.0)
        assert room.choose() == [1]

    def test_an_announcement_is_a_send(self, room: Room) -> None:
        asked: list[Ask] = []

        def note(ask: Ask) -> Grant:
            asked.append(ask)
            return Grant(0.0)

        room.slots.rule = note
        change = job(1, "worker68.mute_group")
        room.add(change)
        assert room.choose(one_send_per_chat=True) == [1]
        room.dispatch.put_back(replace(change, step=1), 0.0)
        assert room.choose(one_send_per_chat=True) == [1]
        assert [ask.job_class for ask in asked] == ["moderate", "send"]
        assert change.chat is not None
        room.add(send(2, chat=change.chat.id))
        assert room.choose(one_send_per_chat=True) == []
        room.dispatch.finish(replace(change, step=1))
        assert room.choose(one_send_per_chat=True) == [2]


class TestReads:
    def test_a_send_that_waits_for_the_accounts_limit_alone_is_more_urgent(self, room: Room) -> None:
        assert not room.dispatch.has_more_urgent()
        room.slots.rule = refuse("account", 60.0)
        room.add(job(1, SYNC))
        assert not room.dispatch.has_more_urgent()
        room.add(send(2))
        assert room.choose() == []
        assert room.dispatch.has_more_urgent()

    def test_a_send_that_another_limit_holds_is_not(self, room: Room) -> None:
        room.slots.rule = refuse("chat", 60.0)
        room.add(send(1))
        assert room.choose() == []
        assert not room.dispatch.has_more_urgent()

    @pytest.mark.parametrize("most", [{"concurrency": 1}, {"max_in_flight": 1}])
    def test_a_send_without_room_is_not(self, most: dict[str, int]) -> None:
        """Reads that gave way would hold the places that it waits for."""
        room = Room(max_in_flight=most.get("max_in_flight", PLENTY))
        room.add(job(1, SYNC))
        assert room.choose() == [1]
        room.add(send(2))
        room.capacity.concurrency = most.get("concurrency", PLENTY)
        assert not room.dispatch.has_more_urgent()

    def test_a_restart_that_waits_for_what_is_under_way_is_not(self, room: Room) -> None:
        room.add(send(1))
        assert room.choose() == [1]
        room.add(job(2, "worker68.restart_client"))
        assert room.choose() == []
        assert not room.dispatch.has_more_urgent()

    def test_reads_leave_room_for_sends(self) -> None:
        room = Room(max_in_flight=4)
        reads = [job(seq, "worker68.sync_group", {"group_id": seq}) for seq in range(1, 5)]
        room.add(*reads)
        assert room.choose() == [1, 2]
        assert "behind other reads" in str(room.dispatch.explain()[3])
        room.add(send(9))
        assert room.choose() == [9]
        room.dispatch.finish(reads[0])
        assert room.choose() == [3]

    def test_where_one_job_may_run_at_once_it_may_be_a_read(self) -> None:
        room = Room(max_in_flight=1)
        room.add(job(1, SYNC))
        assert room.choose() == [1]


def test_jobs_come_and_end_while_the_limits_are_asked(room: Room) -> None:
    """What ends while Redis is slow need not wait for it, and what comes in meanwhile neither."""
    first, second = send(1), send(2, chat=2)
    room.add(first)
    assert room.choose() == [1]

    def answer(_ask: Ask) -> Grant:
        room.dispatch.finish(first)
        room.add(send(3, chat=3))
        assert room.dispatch.is_under_way(2), "nobody else may run it meanwhile"
        return Grant(0.0)

    room.slots.rule = answer
    room.add(second)
    assert room.choose() == [2, 3]


def test_a_refused_job_is_where_it_was(room: Room) -> None:
    room.add(send(1), send(2), send(3, chat=2))
    room.slots.rule = refuse("send", 0.0)
    assert room.choose() == []
    assert room.dispatch.in_flight == 0
    room.slots.rule = lambda ask: Grant(0.0)
    assert room.choose() == [1, 3], "the lane that has waited longest is still the first"


def test_what_is_late_behind_something_late_is_not_started(room: Room) -> None:
    room.add(send(1, expires_at=NOW), send(2, expires_at=NOW), send(3))
    choice = room.look()
    assert [late.seq for late in choice.overdue] == [1, 2]
    assert [ready.job.seq for ready in choice.ready] == [3]


def test_a_limit_of_the_account_is_named_with_its_rate_and_how_far_it_is_slowed_down() -> None:
    room = Room(limits=parse_limits({"chat": "20/m+3"}))
    room.add(send(1))
    room.slots.rule = lambda ask: Refusal("chat", "key", 60.0)
    room.look()
    assert room.dispatch.explain() == {1: "limit chat of the account's settings (20/m+3)"}


def test_a_slow_down_and_a_pause_of_the_service_are_named(room: Room) -> None:
    room.slots.rule = lambda ask: Refusal("send", "key", 0.0, pace=0.5)
    room.add(send(1))
    room.look()
    assert "slowed down to 50% of it after busy answers" in str(room.dispatch.explain()[1])
    room.slots.rule = lambda ask: Refusal("busy", "key", 60.0, pace=0.05)
    room.add(send(2, chat=2), job(3, SYNC))
    choice = room.look()
    assert choice.ready == []
    assert set(room.dispatch.explain()) == {1, 2, 3}
    assert "only a probe goes" in str(room.dispatch.explain()[3])


def test_the_end_of_a_probe_is_looked_for_long_before_it_would_be_given_up(room: Room, clock: Clock) -> None:
    room.slots.rule = lambda ask: Refusal("busy", "key", 60.0, pace=0.05)
    room.add(send(1))

    again_at = room.look().look_again_at

    assert again_at is not None
    assert again_at < clock.now + 30


def test_says_that_the_account_or_the_worker_has_no_room() -> None:
    room = Room(max_in_flight=1)
    room.add(send(1), send(2, chat=2))
    room.choose()
    assert room.dispatch.explain() == {2: "1 jobs of the account are under way, as many as MAX_IN_FLIGHT allows"}
    room.dispatch.finish(send(1))
    room.look(room=0)
    assert room.dispatch.explain() == {2: "the worker has as many jobs under way as CONCURRENCY allows"}


def test_says_that_a_verdict_could_not_be_told_apart(room: Room) -> None:
    room.add(send(1, ordered=False))
    assert room.choose(one_send_per_chat=True) == [1]
    room.add(send(2))
    room.choose(one_send_per_chat=True)
    assert "behind job-1, which is under way; this bridge's verdicts" in str(room.dispatch.explain()[2])


def test_a_scope_that_is_refused_again_for_longer_is_blocked_until_then() -> None:
    blocked = Blocked()
    for until, why in ((1.0, "a while"), (3.0, "longer"), (2.0, "less")):
        blocked.add("chat", until, why)
    assert (blocked["chat"], blocked.next_end) == ("longer", 1.0)
    assert blocked.end(2.5) == []
    assert "chat" in blocked
    assert blocked.end(3.0) == ["chat"]
    assert "chat" not in blocked
    assert blocked.next_end is None
