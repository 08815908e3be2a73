"""The client's queues, by a clock that a test moves: one at a time in order, and events of one moment in one frame."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from worker68.simulator.queues import ClientKnobs, EventStream, Queue


class Clock:
    """A time that only ``advance`` moves, with the calls that are due later."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), call))

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._due and self._due[0][0] <= until + 1e-9:
            self.now, _, call = heapq.heappop(self._due)
            call()
        self.now = until


class Wall:
    """What would be the clients: keeps the frames."""

    def __init__(self) -> None:
        self.frames: list[Any] = []

    def post(self, frame: Any) -> int:
        self.frames.append(frame)
        return 3

    def __len__(self) -> int:
        return 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("worker68.simulator.queues.monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def wall() -> Wall:
    return Wall()


def make_stream(clock: Clock, wall: Wall, knobs: ClientKnobs) -> EventStream:
    return EventStream(wall, lambda: knobs, clock.later)  # type: ignore[arg-type]  # all that it needs of the clients


class TestQueue:
    def test_without_a_gap_nothing_waits(self, clock: Clock) -> None:
        queue, done = Queue(clock.later), list[int]()
        for number in range(3):
            queue.run(0, lambda number=number: done.append(number))  # type: ignore[misc]
        assert done == [0, 1, 2]

    def test_one_in_each_gap(self, clock: Clock) -> None:
        queue, done = Queue(clock.later), list[tuple[int, float]]()
        for number in range(3):
            queue.run(0.1, lambda number=number: done.append((number, clock.now)))  # type: ignore[misc]
        clock.advance(10)
        assert [number for number, _ in done] == [0, 1, 2]
        assert [at - 1000.0 for _, at in done] == pytest.approx([0.0, 0.1, 0.2])

    def test_a_rest_is_no_credit(self, clock: Clock) -> None:
        queue, done = Queue(clock.later), list[float]()
        for _ in range(2):
            clock.advance(10)
            for _ in range(2):
                queue.run(0.1, lambda: done.append(clock.now))
        clock.advance(10)
        assert [at - 1000.0 for at in done] == pytest.approx([10.0, 10.1, 20.0, 20.1])

    def test_how_far_it_is_behind(self, clock: Clock) -> None:
        queue = Queue(clock.later)
        assert queue.behind_seconds == 0
        for _ in range(5):
            queue.run(0.1, lambda: None)
        assert queue.behind_seconds == pytest.approx(0.5)
        clock.advance(10)
        assert queue.behind_seconds == 0


class TestEvents:
    def test_by_default_each_is_posted_at_once(self, clock: Clock, wall: Wall) -> None:
        stream = make_stream(clock, wall, ClientKnobs())
        assert [stream.post({"operator": name}) for name in "ab"] == [3, 3]
        assert stream.take_in_event({"operator": "c"}) == 3
        assert wall.frames == [{"operator": name} for name in "abc"]

    @pytest.mark.parametrize("form", ["array", "operator"])
    def test_those_of_one_moment_are_one_frame(self, clock: Clock, wall: Wall, form: Any) -> None:
        stream = make_stream(clock, wall, ClientKnobs(batch_seconds=0.16, batch_form=form))
        stream.post({"operator": "a"})
        clock.advance(0.1)
        stream.post({"operator": "b"})
        assert wall.frames == []
        clock.advance(0.1)
        stream.post({"operator": "c"})
        clock.advance(1)
        both = [{"operator": "a"}, {"operator": "b"}]
        assert wall.frames == [
            both if form == "array" else {"operator": "__batch__", "data": both},
            {"operator": "c"},
        ]

    def test_no_event_overtakes_those_that_were_gathered_when_gathering_ends(self, clock: Clock, wall: Wall) -> None:
        knobs = ClientKnobs(batch_seconds=0.16, batch_form="array")
        stream = make_stream(clock, wall, knobs)
        stream.post({"operator": "a"})
        knobs.batch_seconds = 0
        stream.post({"operator": "b"})
        clock.advance(1)
        assert wall.frames == [[{"operator": "a"}, {"operator": "b"}]]

    def test_frames_of_the_service_are_read_one_in_each_gap(self, clock: Clock, wall: Wall) -> None:
        stream = make_stream(clock, wall, ClientKnobs(in_gap_seconds=0.08))
        for number in range(3):
            stream.take_in_event({"number": number})
        stream.post({"number": "of the client itself"})
        assert wall.frames == [{"number": 0}, {"number": "of the client itself"}]
        clock.advance(0.1)
        assert [frame["number"] for frame in wall.frames[2:]] == [1]
        assert stream.behind_seconds == pytest.approx(0.14)
        clock.advance(1)
        assert [frame["number"] for frame in wall.frames[2:]] == [1, 2]
