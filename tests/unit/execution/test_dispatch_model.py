"""Whatever comes in which order, each job is handed out once for each turn it has, the first of its lane before the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.parts.jobs import MUTE, NOW, account, job, mute_fields, send_fields
from tests.parts.slots import Slots
from worker68.execution import dispatch as dispatch_module
from worker68.execution.dispatch import LANE_DEPTH, Dispatch
from worker68.jobs.job import Job
from worker68.limits.limiter import Ask, Grant, Refusal

DEPTH = 3
ROOM = 1000


def place(waiting: Job) -> tuple[int, int]:
    return waiting.priority, waiting.seq


class WaitingRoom:
    """The jobs of an account as SQL would hold them."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.ready: dict[int, Job] = {}
        self.loads = 0
        self.while_reading: Callable[[], None] | None = None

    def load(self, lanes: Sequence[str] | None) -> list[Job]:
        self.loads += 1
        heads: dict[str, list[Job]] = {}
        for waiting in sorted(self.ready.values(), key=place):
            if lanes is None or waiting.lane in lanes:
                heads.setdefault(waiting.lane, []).append(waiting)
        seen = sorted((head for jobs in heads.values() for head in jobs[: self.depth]), key=place)
        if (happens := self.while_reading) is not None:
            self.while_reading = None
            happens()
        return seen


class DispatchAgainstSql(RuleBasedStateMachine):
    """Jobs are in the waiting room first, as in SQL, and the dispatch must agree with it at every turn."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(dispatch_module, "LANE_DEPTH", DEPTH)
        self.sql = WaitingRoom(DEPTH)
        self.slots = Slots()
        self.dispatch = Dispatch(account(max_in_flight=ROOM), self.slots.as_limiter(), self.sql.load)
        self.running: dict[int, Job] = {}
        self.ended: set[int] = set()
        self.ending: set[int] = set()
        self.last_seq = 0

    def teardown(self) -> None:
        self.slots.rule = lambda ask: Grant(0.0)
        made = self.last_seq
        for _ in range(2 * made + 2):
            self.start(ROOM)
            for there in list(self.running.values()):
                self.finish(there)
        assert self.ended == set(range(1, made + 1)), "every job had its turn"
        self.patch.undo()

    @rule(
        jobs=st.lists(
            st.tuples(st.integers(1, 2), st.integers(0, 2), st.sampled_from(["send", "unordered", "mute"])), max_size=9
        )
    )
    def arrive(self, jobs: list[tuple[int, int, str]]) -> None:
        made = []
        for chat, priority, kind in jobs:
            self.last_seq += 1
            fields = send_fields(chat={"type": "group", "id": chat}, ordered=kind != "unordered")
            if kind == "mute":
                made.append(job(self.last_seq, MUTE, mute_fields(group_id=chat), priority=priority))
            else:
                made.append(job(self.last_seq, kwargs=fields, priority=priority))
        self.sql.ready |= {new.seq: new for new in made}
        self.dispatch.add(made)

    @rule(room=st.integers(0, 5))
    def choose(self, room: int) -> None:
        self.start(room)

    @rule(refused=st.sets(st.sampled_from(["send", "moderate"])), room=st.integers(1, 5))
    def choose_within_limits(self, refused: set[str], room: int) -> None:
        def answer(ask: Ask) -> Grant | Refusal:
            return Refusal(ask.job_class, "key", 0.0) if ask.job_class in refused else Grant(0.0)

        self.slots.rule = answer
        self.start(room)
        self.slots.rule = lambda ask: Grant(0.0)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def settle(self, which: int) -> None:
        self.finish(self.pick(which))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def make_room(self, which: int) -> None:
        there = self.pick(which)
        self.dispatch.make_room(there)
        self.ending.add(there.seq)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def put_back(self, which: int) -> None:
        there = self.pick(which)
        del self.running[there.seq]
        self.ending.discard(there.seq)
        self.sql.ready[there.seq] = there
        self.dispatch.put_back(there, 0.0)

    @rule()
    def rebuild(self) -> None:
        self.dispatch.rebuild()

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def put_back_while_sql_is_read_for_a_rebuild(self, which: int) -> None:
        self.sql.while_reading = lambda: self.put_back(which)
        self.dispatch.rebuild()

    @invariant()
    def agrees_on_what_is_under_way(self) -> None:
        assert self.dispatch.in_flight == len(self.running)
        assert self.dispatch.occupied == len(self.running.keys() - self.ending)
        assert all(self.dispatch.is_under_way(seq) for seq in self.running)

    def start(self, room: int) -> None:
        choice = self.dispatch.choose(room, False, NOW)
        assert len(choice.ready) <= room
        assert choice.overdue == []
        for chosen in [ready.job for ready in choice.ready]:
            assert chosen.seq in self.sql.ready, "it waits, and nobody runs it"
            rivals = [waiting for waiting in self.sql.ready.values() if waiting.lane == chosen.lane]
            assert chosen == min(rivals, key=place), "the first of its lane"
            if chosen.ordered:
                assert all(there.lane != chosen.lane for there in self.running.values()), "one at a time"
            self.running[chosen.seq] = self.sql.ready.pop(chosen.seq)

    def finish(self, there: Job) -> None:
        del self.running[there.seq]
        self.ended.add(there.seq)
        self.dispatch.finish(there)

    def pick(self, which: int) -> Job:
        return list(self.running.values())[which % len(self.running)]


TestDispatchAgainstSql = DispatchAgainstSql.TestCase
TestDispatchAgainstSql.settings = settings(max_examples=60, stateful_step_count=30)


def test_more_than_the_depth_of_a_lane_is_handed_out_in_order_with_few_loads() -> None:
    sql = WaitingRoom(LANE_DEPTH)
    dispatch = Dispatch(account(), Slots().as_limiter(), sql.load)
    made = [job(seq) for seq in range(1, 5 * LANE_DEPTH + 3)]
    sql.ready = {new.seq: new for new in made}
    dispatch.add(made)
    handed_out = []
    for _ in made:
        (ready,) = dispatch.choose(1, False, NOW).ready
        handed_out.append(sql.ready.pop(ready.job.seq))
        dispatch.finish(ready.job)
    assert handed_out == made
    assert sql.loads <= 6


def test_what_comes_back_while_a_lane_is_loaded_keeps_its_place() -> None:
    """The load did not see it: its row was still in ``sending`` when the query began."""
    made = [job(seq) for seq in range(1, LANE_DEPTH + 3)]
    last_in_memory, *held_by_sql = made[LANE_DEPTH - 1 :]

    def load(_lanes: object) -> list[Job]:
        dispatch.put_back(last_in_memory, 0.0)
        return held_by_sql

    dispatch = Dispatch(account(), Slots().as_limiter(), load)

    def choose() -> list[Job]:
        return [ready.job for ready in dispatch.choose(1, False, NOW).ready]

    dispatch.add(made)
    for earlier in made[: LANE_DEPTH - 1]:
        assert choose() == [earlier]
        dispatch.finish(earlier)
    assert choose() == [last_in_memory]
    assert choose() == [last_in_memory]
    dispatch.finish(last_in_memory)
    assert choose() == held_by_sql[:1]
