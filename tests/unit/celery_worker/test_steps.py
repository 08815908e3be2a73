"""On each connection of Celery's, and later on, its queues are bound, and what happens is shown: also what happened last."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from tests.parts.clock import Clock
from tests.parts.jobs import job
from worker68.celery_worker import steps
from worker68.celery_worker.steps import ShowStep
from worker68.clock import monotonic
from worker68.errors import RedisNotNow
from worker68.execution.slots import Ready, Slot, ask_of
from worker68.observe.runs import Began, Feed, Runs

JOB = job(1)


class Dispatcher:
    """Celery's dispatcher of events, with task events switched on."""

    def __init__(self) -> None:
        self.enabled, self.groups = True, {"task", "worker"}
        self.buffer_limit = 24
        self.sent: list[str] = []

    def send(self, kind: str, **_: Any) -> None:
        self.sent.append(kind)

    def flush(self) -> None: ...


class Timer:
    """Celery's timer, which goes on when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_repeatedly(self, _seconds: float, call: Callable[..., None], how: tuple[Any, ...]) -> Callable[[], None]:
        self.calls.append(lambda: call(*how))
        return self.calls[-1]

    def cancel(self, call: Callable[[], None]) -> None:
        self.calls.remove(call)

    def go_on(self) -> None:
        for call in self.calls:
            call()


class Runtime:
    def __init__(self) -> None:
        self.runs, self.feed = Runs(), Feed()
        self.refusals, self.bound = 0, 0

    def bind_queues(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise RedisNotNow("it is full")
        self.bound += 1


class Consumer:
    """Celery's consumer, as far as a step meets it."""

    def __init__(self) -> None:
        self.runtime = Runtime()
        self.app = SimpleNamespace(worker68_runtime=self.runtime, tasks={JOB.task: None})
        self.event_dispatcher: Dispatcher | None = Dispatcher()
        self.timer = Timer()


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def step(consumer: Consumer) -> ShowStep:
    return ShowStep(consumer)


def sent(consumer: Consumer) -> list[str]:
    assert consumer.event_dispatcher is not None
    return consumer.event_dispatcher.sent


def test_the_queues_are_bound_on_each_connection(consumer: Consumer, step: ShowStep) -> None:
    for _ in range(2):
        step.start(consumer)
        consumer.timer.go_on()
        step.stop(consumer)
    assert consumer.runtime.bound == 2


def test_the_queues_are_bound_anew_now_and_then(
    consumer: Consumer, step: ShowStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of an earlier version may have connected again meanwhile."""
    clock = Clock()
    clock.drive(monkeypatch, "worker68.celery_worker.steps")
    step.start(consumer)
    consumer.timer.go_on()
    assert consumer.runtime.bound == 1
    clock.pass_by(steps.BIND_SECONDS)
    for _ in range(2):
        consumer.timer.go_on()
    assert consumer.runtime.bound == 2


def test_a_redis_that_is_full_is_asked_again(consumer: Consumer, step: ShowStep) -> None:
    consumer.runtime.refusals = 2
    step.start(consumer)
    consumer.timer.go_on()
    assert consumer.runtime.bound == 0
    consumer.timer.go_on()
    assert consumer.runtime.bound == 1


def test_what_is_under_way_and_what_happens_is_shown(consumer: Consumer, step: ShowStep) -> None:
    state.reset_state()
    step.start(consumer)
    consumer.runtime.runs.begin(Ready(JOB, Slot(ask_of(JOB), monotonic(), monotonic())))
    consumer.runtime.feed.note(Began(JOB))
    consumer.timer.go_on()
    assert len(state.active_requests) == 1
    assert sent(consumer) == ["task-received", "task-started"]
    state.reset_state()


def test_what_happened_last_is_shown_at_the_end(consumer: Consumer, step: ShowStep) -> None:
    step.start(consumer)
    step.stop(consumer)
    consumer.runtime.feed.note(Began(JOB))
    step.shutdown(consumer)
    assert consumer.timer.calls == []
    assert sent(consumer) == ["task-received", "task-started"]


def test_without_a_connection_nothing_is_wanted_and_nothing_sent(consumer: Consumer, step: ShowStep) -> None:
    step.start(consumer)
    consumer.event_dispatcher = None
    consumer.runtime.feed.note(Began(JOB))
    step.shutdown(consumer)
    assert list(consumer.runtime.feed.take()) == []


def test_a_connection_that_broke_off_before_the_step_began_is_not_made_again_at_once(
    consumer: Consumer, step: ShowStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    step.start(consumer)
    step.stop(consumer)
    assert slept == []
    step.stop(consumer)
    assert slept == [steps.REFUSED_SECONDS]
