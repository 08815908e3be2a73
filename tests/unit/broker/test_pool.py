"""Whatever a task raises, its request is settled and its thread takes the next one; a warm stop waits for what is under way."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.worker import state

from worker68.broker.pool import TaskPool

SECONDS = 10.0


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    pool = TaskPool(1)
    pool.start()
    yield pool
    pool.stop()


class Request:
    """What Celery passes along with a task, and what it heard of it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        self.heard.append(("accepted", None))

    def on_success(self, result: Any) -> None:
        self.heard.append(("success", result))

    def on_failure(self, einfo: Any) -> None:
        self.heard.append(("failure", type(einfo.exception.exc)))

    def run(self, pool: TaskPool, target: Callable[[], Any]) -> list[tuple[str, Any]]:
        result = pool.apply_async(
            target,
            accept_callback=self.on_accepted,
            callback=self.on_success,
            error_callback=self.on_failure,
            soft_timeout=1,
            timeout=2,
            correlation_id="x",
        )
        result.get(SECONDS)
        return self.heard


def raising(error: BaseException) -> Callable[[], None]:
    def target() -> None:
        raise error

    return target


def test_a_result_is_passed_on(pool: TaskPool) -> None:
    assert Request().run(pool, lambda: 42) == [("accepted", None), ("success", 42)]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError()])
def test_any_exception_is_a_failure_and_the_thread_goes_on(pool: TaskPool, error: BaseException) -> None:
    assert Request().run(pool, raising(error)) == [("accepted", None), ("failure", type(error))]
    assert Request().run(pool, lambda: 1) == [("accepted", None), ("success", 1)]
    assert pool.info["threads"] == 1


def test_an_error_after_success_does_not_make_it_a_failure(pool: TaskPool) -> None:
    class Deaf(Request):
        def on_success(self, result: Any) -> None:
            super().on_success(result)
            raise SystemExit

    assert Deaf().run(pool, lambda: 1) == [("accepted", None), ("success", 1)]


def test_a_task_runs_although_its_beginning_cannot_be_told(pool: TaskPool) -> None:
    class Deaf(Request):
        def on_accepted(self, pid: int, time_accepted: float) -> None:
            raise OSError

    assert Deaf().run(pool, lambda: 1) == [("success", 1)]


def test_a_cold_shutdown_may_ask_to_kill_a_thread(pool: TaskPool) -> None:
    pool.terminate_job(1, 15)


def test_threads_are_started_when_they_are_needed(pool: TaskPool) -> None:
    assert pool.info["threads"] == 0
    assert pool.info["max-concurrency"] == 1


def test_after_terminate_nothing_begins() -> None:
    pool = TaskPool(1)
    pool.start()

    pool.terminate()

    with pytest.raises(RuntimeError):
        pool.apply_async(lambda: 1)


class TestWhatIsHeld:
    """Jobs, which need no thread of the pool."""

    @pytest.fixture
    def stopped(self, pool: TaskPool) -> Iterator[queue.SimpleQueue[None]]:
        """Is told once the pool has stopped; and whatever a test leaves held is let go in the end."""
        yield queue.SimpleQueue()
        while pool._held:
            pool.release()

    def stop(self, pool: TaskPool, stopped: queue.SimpleQueue[None]) -> threading.Thread:
        """Begin to stop the pool; return once it has stopped or waits for what is held."""
        waits = threading.Event()
        wait_for = pool._changed.wait_for

        def note_and_wait(predicate: Callable[[], bool]) -> bool:
            waits.set()
            return wait_for(predicate)

        def stop() -> None:
            pool.stop()
            stopped.put(None)
            waits.set()

        pool._changed.wait_for = note_and_wait  # type: ignore[method-assign,assignment]
        stopping = threading.Thread(target=stop)
        stopping.start()
        assert waits.wait(SECONDS)
        return stopping

    def test_a_warm_stop_waits_for_all_of_it_from_whatever_thread(
        self, pool: TaskPool, stopped: queue.SimpleQueue[None]
    ) -> None:
        pool.hold()
        in_thread(pool.hold)
        stopping = self.stop(pool, stopped)

        in_thread(pool.release)
        stopping.join(0.1)
        assert stopped.empty()
        in_thread(pool.release)

        stopped.get(timeout=SECONDS)
        stopping.join(SECONDS)

    def test_a_warm_stop_does_not_wait_where_nothing_is_held(
        self, pool: TaskPool, stopped: queue.SimpleQueue[None]
    ) -> None:
        pool.hold()
        pool.release()

        stopping = self.stop(pool, stopped)

        stopped.get(timeout=SECONDS)
        stopping.join(SECONDS)

    def test_a_cold_stop_does_not_wait(
        self, pool: TaskPool, stopped: queue.SimpleQueue[None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(state, "should_terminate", 0)
        pool.hold()

        stopping = self.stop(pool, stopped)

        stopped.get(timeout=SECONDS)
        stopping.join(SECONDS)
        assert pool._held == 1

    def test_a_cold_stop_ends_the_wait_of_a_warm_one(
        self, pool: TaskPool, stopped: queue.SimpleQueue[None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pool.hold()
        stopping = self.stop(pool, stopped)

        monkeypatch.setattr(state, "should_terminate", 0)
        pool.stop()

        stopped.get(timeout=SECONDS)
        stopping.join(SECONDS)
        assert pool._held == 1

    def test_what_threads_carry_is_waited_for_beside_it(self, pool: TaskPool, stopped: queue.SimpleQueue[None]) -> None:
        go_on, begun = threading.Event(), threading.Event()

        def carry() -> None:
            begun.set()
            go_on.wait(SECONDS)

        pool.apply_async(carry)
        assert begun.wait(SECONDS)
        pool.hold()
        stopping = self.stop(pool, stopped)

        pool.release()
        stopping.join(0.1)
        assert stopped.empty()
        go_on.set()

        stopped.get(timeout=SECONDS)
        stopping.join(SECONDS)


def in_thread(step: Callable[[], None]) -> None:
    thread = threading.Thread(target=step)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()
