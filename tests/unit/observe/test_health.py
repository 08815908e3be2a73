"""When a worker finds itself ill: what fails for long, what stands still, what hangs, and never what is only new."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.clock import Clock
from tests.parts.onloop import running_loop, serve, stop_service
from tests.parts.worker import wait_until
from worker68.loop import LoopThread
from worker68.observe.health import Watch, are_alive, is_recent

#: Looks come as fast as they can. How long something is ill, the test says: it drives the clock.
LOOK, PATIENCE = 0.01, 30.0


class Switch:
    """A check that says what the test says."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.looks = 0

    def __call__(self) -> str | None:
        self.looks += 1
        if self.problem == "raise":
            raise OSError("gone")
        return self.problem


class Watched:
    def __init__(self, loop: LoopThread, file: Path) -> None:
        self.switch = Switch()
        self.file = file
        self.reported: list[str | None] = []
        self.watch = Watch(
            {"it": self.switch},
            file,
            loop.loop,
            look_seconds=LOOK,
            patience_seconds=PATIENCE,
            on_look=self.reported.append,
        )
        self._loop = loop

    def start(self) -> None:
        serve(self._loop, self.watch)

    def stop(self) -> None:
        stop_service(self._loop, self.watch)
        self.watch.remove_file()

    def look_again(self) -> None:
        """Wait until a look has begun and ended from now on."""
        count = len(self.reported)
        wait_until(lambda: len(self.reported) >= count + 2)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.observe.health")
    return clock


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with running_loop() as loop:
        yield loop


@pytest.fixture
def watched(loop: LoopThread, tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(loop, tmp_path / "health")
    yield watched
    watched.stop()


def test_the_file_is_touched_while_all_is_well(watched: Watched) -> None:
    watched.start()
    wait_until(watched.file.exists)
    first = watched.file.stat().st_mtime_ns

    wait_until(lambda: watched.file.stat().st_mtime_ns > first)

    assert watched.watch.problem is None


def test_a_worker_that_was_never_well_is_not_healthy(watched: Watched) -> None:
    watched.switch.problem = "no database"
    watched.start()
    watched.look_again()

    assert watched.watch.problem == "it: no database"
    assert not watched.file.exists()


def test_what_fails_for_a_moment_is_no_illness(watched: Watched, clock: Clock) -> None:
    watched.start()
    wait_until(watched.file.exists)

    watched.switch.problem = "a blink"
    clock.pass_by(PATIENCE - 1)
    watched.look_again()

    assert watched.watch.problem is None


@pytest.mark.parametrize("problem", ["does not answer", "raise"])
def test_what_fails_for_long_is_an_illness_until_it_is_over(watched: Watched, clock: Clock, problem: str) -> None:
    watched.start()
    wait_until(watched.file.exists)

    watched.switch.problem = problem
    watched.look_again()
    clock.pass_by(PATIENCE)
    wait_until(lambda: watched.watch.problem is not None)
    watched.look_again()
    untouched = watched.file.stat().st_mtime_ns
    watched.look_again()
    assert watched.file.stat().st_mtime_ns == untouched

    watched.switch.problem = None
    wait_until(lambda: watched.watch.problem is None)
    wait_until(lambda: watched.file.stat().st_mtime_ns > untouched)


def test_a_look_that_hangs_is_an_illness(loop: LoopThread, tmp_path: Path, clock: Clock) -> None:
    hang, began, hangs = threading.Event(), threading.Event(), threading.Event()

    def check() -> str | None:
        if began.is_set():
            hangs.set()
            hang.wait(60)
        began.set()
        return None

    watch = Watch({"it": check}, tmp_path / "health", loop.loop, look_seconds=LOOK, patience_seconds=PATIENCE)
    serve(loop, watch)
    try:
        assert hangs.wait(60)
        assert watch.problem is None
        clock.pass_by(PATIENCE + 1)
        assert watch.problem == "no look at the worker's health has ended for 31 s"
    finally:
        hang.set()
        stop_service(loop, watch)


def test_a_check_can_rest(watched: Watched) -> None:
    watched.start()
    wait_until(watched.file.exists)
    watched.switch.problem = "ends in order"
    watched.watch.forgo("it")
    watched.look_again()
    looks = watched.switch.looks
    watched.look_again()

    assert watched.switch.looks == looks
    assert watched.watch.problem is None


def test_nothing_is_left_behind(watched: Watched) -> None:
    watched.start()
    wait_until(watched.file.exists)
    watched.stop()
    assert not watched.file.exists()


class TestChecks:
    def test_recency(self, clock: Clock) -> None:
        done_at = clock.now
        check = is_recent("a round", lambda: done_at, 10)
        clock.pass_by(9)
        assert check() is None
        clock.pass_by(2)
        assert check() == "a round: the last time was 11 s ago"

    def test_threads(self) -> None:
        here = threading.current_thread().name
        assert are_alive(frozenset({here}))() is None
        assert are_alive(frozenset({here, "worker68-writer"}))() == "ended: worker68-writer"
