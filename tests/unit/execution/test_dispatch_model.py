"""Whatever comes in which order, dispatch chooses what a simple look through all that waits would choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.parts.clock import Clock
from tests.parts.jobs import MUTE, NOW, account, job, mute_fields, send_fields
from tests.parts.onloop import in_pool, run
from tests.parts.slots import Slots
from worker68.execution import backlog as backlog_module
from worker68.execution import dispatch as dispatch_module
from worker68.execution.backlog import LANE_DEPTH
from worker68.execution.dispatch import Dispatch
from worker68.execution.lanes import head_of
from worker68.execution.under_way import Capacity
from worker68.jobs.job import Job, is_shared_lane
from worker68.limits.limiter import Ask, Grant, Refusal

DEPTH = 3
IN_MEMORY = 6
ROOM = 1000
#: Lanes that SQL had before come before all others.
FOUND = -(10**6)


def place(waiting: Job) -> tuple[int, int]:
    return waiting.priority, waiting.seq


class WaitingRoom:
    """The jobs of an account as SQL would hold them."""

    def __init__(self) -> None:
        self.ready: dict[int, Job] = {}
        self.loads = 0
        self.most_read = 0
        self.while_reading: Callable[[], None] | None = None

    def lanes(self) -> dict[str, list[Job]]:
        found: dict[str, list[Job]] = {}
        for waiting in sorted(self.ready.values(), key=place):
            found.setdefault(waiting.lane, []).append(waiting)
        return found

    def load(self, lanes: Sequence[str], depth: int) -> list[Job]:
        self.loads += 1
        there = self.lanes()
        seen = [waiting for lane in lanes for waiting in there.get(lane, [])[:depth]]
        self.most_read = max(self.most_read, len(seen))
        if (happens := self.while_reading) is not None:
            self.while_reading = None
            happens()
        return sorted(seen, key=place)


class Reference:
    """Looks through all that waits at each choice, and knows nothing of memory."""

    def __init__(self, sql: WaitingRoom, clock: Clock) -> None:
        self.sql = sql
        self.clock = clock
        self.running: dict[int, Job] = {}
        self.since: dict[str, int] = {}
        self.rests: dict[int, float] = {}
        self.blocked: dict[str, float] = {}
        self.turns = 0

    def enter(self, new: Job, lane_waits: bool) -> None:
        if not lane_waits:
            self.since[new.lane] = self.turn()
        self.sql.ready[new.seq] = new

    def turn(self) -> int:
        self.turns += 1
        return self.turns

    def choose(
        self, room: int, one_send_per_chat: bool, api_known: bool, refused: set[str]
    ) -> tuple[list[int], set[int]]:
        """Return the numbers of the jobs that start, in order, and of those whose time is over."""
        self.blocked = {scope: until for scope, until in self.blocked.items() if until > self.clock.now}
        held = refused | self.blocked.keys()
        started: list[int] = []
        late: set[int] = set()
        while len(started) < room:
            nexts = list(self.nexts(one_send_per_chat, api_known, held))
            if not nexts:
                break
            first = min(nexts, key=lambda one: (one.kind.job_class, one.priority, self.since[one.lane]))
            del self.sql.ready[first.seq]
            self.rests.pop(first.seq, None)
            if first.expires_at is not None:
                late.add(first.seq)
                continue
            self.since[first.lane] = self.turn()
            self.running[first.seq] = first
            started.append(first.seq)
        return started, late

    def nexts(self, one_send_per_chat: bool, api_known: bool, held: set[str]) -> Iterator[Job]:
        """The next job of each lane that may start."""
        busy = {one.lane for one in self.running.values()}
        chats = Counter(one.chat for one in self.running.values() if one.now.message)
        for lane, jobs in self.sql.lanes().items():
            awake = [one for one in jobs if self.rests.get(one.seq, 0.0) <= self.clock.now]
            first = awake[0] if awake else None
            if not is_shared_lane(lane) and (lane in busy or first is not jobs[0]):
                continue
            if first is None or "account" in held or {first.now.limit, f"chat {first.chat.id}"} & held:  # type: ignore[union-attr]
                continue
            if first.now.message and one_send_per_chat and chats[first.chat]:
                continue
            if first.now.through_api and not api_known:
                continue
            yield first


class DispatchAgainstReference(RuleBasedStateMachine):
    """Jobs are in SQL first, and dispatch chooses exactly what the reference chooses, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name, value in {"LANE_DEPTH": DEPTH, "MOST_IN_MEMORY": IN_MEMORY, "LANES_LOADED": 2}.items():
            self.patch.setattr(backlog_module, name, value)
        self.patch.setattr(backlog_module, "LOAD_AGAIN_SECONDS", 0.0)
        self.patch.setattr(dispatch_module, "API_PATIENCE_SECONDS", 0.0)
        self.patch.setattr(dispatch_module, "MOST_LOADS", 1000)
        self.clock = Clock()
        self.clock.drive(self.patch, "worker68.execution.dispatch", "worker68.execution.backlog")
        self.sql = WaitingRoom()
        self.reference = Reference(self.sql, self.clock)
        self.slots = Slots()
        self.capacity = Capacity(ROOM)
        load = in_pool(self.sql.load)
        self.dispatch = Dispatch(account(max_in_flight=ROOM), self.slots.as_requests(), load, self.capacity)
        self.ended: set[int] = set()
        self.ending: set[int] = set()
        self.last_seq = 0

    def teardown(self) -> None:
        try:
            self.clock.pass_by(100)
            made = self.last_seq
            for _ in range(2 * made + 2):
                self.choose(ROOM, False, True)
                for there in list(self.running.values()):
                    self.finish(there)
            assert self.ended == set(range(1, made + 1)), "every job had its turn"
            assert len(self.dispatch._backlog) == 0
            assert self.dispatch.lanes() == []
        finally:
            self.patch.undo()

    @property
    def running(self) -> dict[int, Job]:
        return self.reference.running

    def make(self, what: list[tuple[int, int, str]]) -> list[Job]:
        made = []
        for chat, priority, kind in what:
            self.last_seq += 1
            more: dict[str, Any] = {"priority": priority, "expires_at": NOW if kind == "late" else None}
            if kind == "mute":
                made.append(job(self.last_seq, MUTE, mute_fields(group_id=chat), **more))
            else:
                fields = send_fields(chat={"type": "group", "id": chat}, ordered=kind != "unordered")
                made.append(job(self.last_seq, kwargs=fields, **more))
        return made

    some_jobs = st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 2), st.sampled_from(["send", "unordered", "mute", "late"])),
        max_size=9,
    )

    @rule(what=some_jobs)
    def arrive(self, what: list[tuple[int, int, str]]) -> None:
        made = self.make(what)
        for new in made:
            self.enter(new)
        self.dispatch.add(made)

    def enter(self, new: Job) -> None:
        # Of a lane whose last job somebody cancelled, dispatch may not know yet that it is empty: it keeps its turn.
        waits = new.lane in self.sql.lanes() or self.dispatch._backlog.waiting_lane(new.lane) is not None
        self.reference.enter(new, waits)

    @rule(what=some_jobs)
    def arrive_unseen(self, what: list[tuple[int, int, str]]) -> None:
        """They are in SQL only, as after a failure; then nothing starts before all lanes have been looked up."""
        known = self.dispatch.lanes()
        self.sql.ready |= {new.seq: new for new in self.make(what)}
        for lane, (first, *_) in self.sql.lanes().items():
            if lane not in known:
                self.reference.since[lane] = FOUND + first.seq
        self.look_up(200)

    @rule(size=st.integers(1, 200))
    def look_up(self, size: int) -> None:
        self.dispatch.unload()
        found = [(lane, head_of(jobs[0]), 0.0) for lane, jobs in self.sql.lanes().items()]
        for start in range(0, len(found), size):
            self.dispatch.learn(found[start : start + size])

    @rule(what=some_jobs)
    def arrive_while_lanes_are_looked_up(self, what: list[tuple[int, int, str]]) -> None:
        found = [(lane, head_of(jobs[0]), 0.0) for lane, jobs in self.sql.lanes().items()]
        self.arrive(what)
        self.dispatch.learn(found)

    @rule(room=st.integers(0, 5), one_send_per_chat=st.booleans(), api_known=st.booleans())
    def choose(self, room: int, one_send_per_chat: bool, api_known: bool) -> None:
        self.start(room, one_send_per_chat, api_known, set())

    @rule(
        refused=st.sets(st.sampled_from(["send", "moderate", "chat 1", "chat 2", "account"]), min_size=1),
        room=st.integers(1, 5),
        seconds=st.sampled_from([0.0, 10.0]),
    )
    def choose_within_limits(self, refused: set[str], room: int, seconds: float) -> None:
        met: dict[str, float] = {}

        def answer(ask: Ask) -> Grant | Refusal:
            assert ask.chat is not None
            for scope in ("account", ask.job_class, f"chat {ask.chat.id}"):
                if scope in refused:
                    met[scope] = self.clock.now + seconds
                    return Refusal(scope.split()[0], "key", seconds)  # type: ignore[arg-type]
            return Grant(0.0)

        self.slots.rule = answer
        self.start(room, False, True, refused)
        self.slots.rule = lambda ask: Grant(0.0)
        self.reference.blocked |= met

    @rule()
    def time_passes(self) -> None:
        self.clock.pass_by(10)

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
    @rule(which=st.integers(0, 99), seconds=st.sampled_from([0.0, 10.0]))
    def put_back(self, which: int, seconds: float) -> None:
        there = self.pick(which)
        del self.running[there.seq]
        self.ending.discard(there.seq)
        self.enter(there)
        self.reference.rests[there.seq] = self.clock.now + seconds
        self.dispatch.put_back(there, seconds)

    @precondition(lambda self: self.sql.ready)
    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        """Somebody ends one that waits, and tells."""
        seq = sorted(self.sql.ready)[which % len(self.sql.ready)]
        del self.sql.ready[seq]
        self.ended.add(seq)
        self.dispatch.forget({seq})

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99), how=st.sampled_from(["put back", "settle"]), what=some_jobs)
    def something_happens_while_lanes_are_loaded(self, which: int, how: str, what: list[tuple[int, int, str]]) -> None:
        """Not told: which of two that were so near to each other came first."""

        def happen() -> None:
            if how == "settle":
                self.settle(which)
            elif self.running:
                self.put_back(which, 0.0)
            self.arrive(what)

        self.sql.while_reading = happen
        self.look_up(200)
        self.capacity.concurrency = self.capacity.occupied
        choice = run(self.dispatch.choose(False, NOW))
        assert choice.ready == []
        self.capacity.concurrency = self.capacity.occupied + ROOM
        choice = run(self.dispatch.choose(False, NOW))
        self.sql.while_reading = None
        for one in [*choice.overdue, *(ready.job for ready in choice.ready)]:
            rivals = [waiting for waiting in self.sql.ready.values() if waiting.lane == one.lane]
            assert one.seq in self.sql.ready, "it waits, and nobody runs it"
            if one.ordered:
                assert one == min(rivals, key=place), "the first of its lane"
            del self.sql.ready[one.seq]
        self.ended |= {late.seq for late in choice.overdue}
        for ready in choice.ready:
            if ready.job.ordered:
                assert all(there.lane != ready.job.lane for there in self.running.values()), "one at a time"
            self.running[ready.job.seq] = ready.job
        for lane in self.dispatch.lanes():
            self.reference.since[lane] = self.dispatch._backlog._lanes[lane].since
        self.reference.turns = self.dispatch._backlog._turns

    @invariant()
    def agrees_on_what_is_under_way(self) -> None:
        assert self.dispatch.in_flight == len(self.running)
        assert self.dispatch.occupied == len(self.running.keys() - self.ending)
        assert all(self.dispatch.is_under_way(seq) for seq in self.running)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.dispatch._backlog) <= IN_MEMORY + self.sql.most_read

    @invariant()
    def says_of_each_lane_why_its_next_job_waits(self) -> None:
        assert self.dispatch.explain().keys() <= set(range(1, self.last_seq + 1))

    def start(self, room: int, one_send_per_chat: bool, api_known: bool, refused: set[str]) -> None:
        before = dict(self.sql.ready)
        started, late = self.reference.choose(room, one_send_per_chat, api_known, refused)
        self.sql.ready, after = before, self.sql.ready
        ready: list[int] = []
        overdue: set[int] = set()
        while True:  # what is late ends in SQL before more is looked at
            self.capacity.concurrency = self.capacity.occupied + room - len(ready)
            choice = run(self.dispatch.choose(one_send_per_chat, NOW, api_known))
            ready += [one.job.seq for one in choice.ready]
            overdue |= {one.seq for one in choice.overdue}
            for one in choice.overdue:
                assert one.expires_at is not None
                self.sql.ready.pop(one.seq, None)
            if not choice.overdue:
                break
        assert ready == started
        assert refused or overdue == late
        self.sql.ready = {seq: waiting for seq, waiting in after.items() if seq not in overdue}
        self.ended |= late | overdue

    def finish(self, there: Job) -> None:
        del self.running[there.seq]
        self.ending.discard(there.seq)
        self.ended.add(there.seq)
        self.dispatch.finish(there)

    def pick(self, which: int) -> Job:
        return list(self.running.values())[which % len(self.running)]


TestDispatchAgainstReference = DispatchAgainstReference.TestCase
TestDispatchAgainstReference.settings = settings(max_examples=70, stateful_step_count=40)


def test_more_than_the_depth_of_a_lane_is_handed_out_in_order_with_few_loads() -> None:
    sql = WaitingRoom()
    dispatch = Dispatch(account(), Slots().as_requests(), in_pool(sql.load), Capacity(1))
    made = [job(seq) for seq in range(1, 5 * LANE_DEPTH + 3)]
    sql.ready = {new.seq: new for new in made}
    dispatch.add(made)
    handed_out = []
    for _ in made:
        (ready,) = run(dispatch.choose(False, NOW)).ready
        handed_out.append(sql.ready.pop(ready.job.seq))
        dispatch.finish(ready.job)
    assert handed_out == made
    assert sql.loads <= 6


def test_what_comes_back_while_its_lane_is_loaded_keeps_its_place() -> None:
    """The load did not see it: its row was still in ``sending`` when the query began."""
    unordered = send_fields(ordered=False)
    made = [job(seq, kwargs=unordered) for seq in range(1, LANE_DEPTH + 3)]
    last_in_memory, *held_by_sql = made[LANE_DEPTH - 1 :]

    def load(_lanes: object, _depth: int) -> list[Job]:
        dispatch.put_back(last_in_memory, 0.0)
        return held_by_sql

    capacity = Capacity(ROOM)
    dispatch = Dispatch(account(max_in_flight=ROOM), Slots().as_requests(), in_pool(load), capacity)

    def choose(room: int) -> list[Job]:
        capacity.concurrency = capacity.occupied + room
        return [ready.job for ready in run(dispatch.choose(False, NOW)).ready]

    dispatch.add(made)
    assert choose(LANE_DEPTH) == made[:LANE_DEPTH]
    assert choose(1) == [last_in_memory, held_by_sql[0]], "what comes back gives its room back"
