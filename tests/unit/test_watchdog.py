"""The watchdog sees a loop that stands still, says what it does, and says when it goes on. The end of a stop is in test_runtime."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.parts.onloop import running_loop
from tests.parts.worker import wait_until
from worker68 import watchdog as watchdog_module
from worker68.loop import LoopThread
from worker68.watchdog import Watchdog


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(watchdog_module, "STILL_SECONDS", 0.2)


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
    loop: LoopThread, watchdog: Watchdog
) -> None:
    may_go_on = threading.Event()

    def stand_still() -> None:
        may_go_on.wait(60)

    with capture_logs() as logs:
        loop.loop.tell(stand_still)
        try:
            wait_until(lambda: lines(logs, "loop_stands_still"))
            assert "the loop has stood still" in (watchdog.problem or "")
        finally:
            may_go_on.set()
        wait_until(lambda: lines(logs, "loop_goes_on"))
    (line,) = lines(logs, "loop_stands_still")
    assert any(at.endswith(" stand_still") for at in line["frames"])
    assert watchdog.problem is None


def test_a_loop_that_ends_in_order_is_no_illness(loop: LoopThread, watchdog: Watchdog) -> None:
    with capture_logs() as logs:
        watchdog.stop()
        loop.stop()
        wait_until(lambda: not watchdog._thread.is_alive())
    assert watchdog.problem is None
    assert lines(logs, "loop_stands_still") == []
