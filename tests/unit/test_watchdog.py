"""The watchdog sees a loop that stands still, says what it does, and says when it goes on. The end of a stop is in test_runtime."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.parts.clock import Clock
from tests.parts.onloop import running_loop
from tests.parts.worker import wait_until
from worker68 import watchdog as watchdog_module
from worker68.loop import LoopThread
from worker68.watchdog import STILL_SECONDS, Watchdog


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """How long the loop stands still, the test says."""
    clock = Clock()
    clock.drive(monkeypatch, watchdog_module.__name__)
    monkeypatch.setattr(watchdog_module, "ASK_SECONDS", 0.01)
    return clock


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with running_loop() as loop:
        yield loop


@pytest.fixture
def watchdog(loop: LoopThread) -> Iterator[Watchdog]:
    watchdog = Watchdog(loop)
    watchdog.start()
    yield watchdog
    watchdog.stop()


def lines(logs: list[Any], event: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == event]


def test_a_loop_that_stands_still_is_reported_once_with_its_stack_until_it_goes_on(
    loop: LoopThread, watchdog: Watchdog, clock: Clock
) -> None:
    stands, may_go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        stands.set()
        may_go_on.wait(60)

    with capture_logs() as logs:
        loop.loop.tell(stand_still)
        try:
            assert stands.wait(60)
            wait_until(lambda: watchdog._unanswered is not None)
            assert watchdog.problem is None
            clock.pass_by(STILL_SECONDS)
            wait_until(lambda: lines(logs, "loop_stands_still"))
            assert "the loop has stood still" in (watchdog.problem or "")
        finally:
            may_go_on.set()
        wait_until(lambda: lines(logs, "loop_goes_on"))
    (line,) = lines(logs, "loop_stands_still")
    assert any(at.endswith(" stand_still") for at in line["frames"])
    assert watchdog.problem is None


def test_a_loop_that_ends_in_order_is_no_illness(loop: LoopThread, watchdog: Watchdog, clock: Clock) -> None:
    with capture_logs() as logs:
        watchdog.stop()
        wait_until(lambda: not watchdog._thread.is_alive())
        loop.stop()
        clock.pass_by(STILL_SECONDS)
    assert watchdog.problem is None
    assert lines(logs, "loop_stands_still") == []
