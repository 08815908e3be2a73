"""The loop: nothing that it is told is lost, whoever tells it and when, and nothing that goes wrong stops the rest."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.parts.lines import before_line
from tests.parts.onloop import PATIENCE_SECONDS, let_run, run, soon
from tests.parts.worker import wait_until
from worker68.loop import SERVICES, Gathered, Loop, LoopThread, Stopping, Waiter, Wakeup

LONG_SECONDS = 3600.0


def this_loop() -> Loop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    return loop


def elsewhere(do: Callable[[], object]) -> None:
    """Do something on another thread, to its end."""
    thread = threading.Thread(target=do)
    thread.start()
    thread.join()


async def comes_true(condition: Callable[[], bool]) -> None:
    """Return once the condition is true; the loop is told nothing meanwhile."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


def lines_of(try_at: Callable[[int], Coroutine[Any, Any, bool]]) -> int:
    """Try something before each line of a function, until one is not come to; return how many were."""
    return next(number for number in itertools.count() if not run(try_at(number)))


class TestTell:
    def test_what_many_threads_tell_is_all_run_in_each_ones_order(self) -> None:
        heard: dict[int, list[int]] = defaultdict(list)

        async def listen() -> None:
            loop = this_loop()

            def tell_all(thread: int) -> None:
                for number in range(2000):
                    loop.tell(lambda number=number: heard[thread].append(number))  # type: ignore[misc]

            threads = [threading.Thread(target=tell_all, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            await comes_true(lambda: sum(map(len, heard.values())) == 8 * 2000)
            for thread in threads:
                thread.join()

        run(listen())
        assert heard == {number: list(range(2000)) for number in range(8)}

    def test_what_is_told_before_any_line_of_the_hearing_is_heard(self) -> None:
        async def tell_while_it_hears(number: int) -> bool:
            loop, heard = this_loop(), list[str]()
            with before_line(
                Loop._hear, number, lambda: elsewhere(lambda: loop.tell(lambda: heard.append("late")))
            ) as at:
                loop.tell(lambda: heard.append("first"))
                await let_run()
            await comes_true(lambda: heard == ["first", "late"] if at else heard == ["first"])
            return bool(at)

        assert lines_of(tell_while_it_hears) >= 5

    def test_what_two_threads_tell_at_once_is_heard_whichever_line_they_are_at(self) -> None:
        async def tell_while_another_tells(number: int) -> bool:
            loop, heard = this_loop(), list[str]()

            def come_between() -> None:
                loop.tell(lambda: heard.append("other"))
                asyncio.run_coroutine_threadsafe(let_run(), loop).result()  # it may hear it now

            def tell() -> bool:
                with before_line(Loop.tell, number, come_between) as at:
                    loop.tell(lambda: heard.append("one"))
                return bool(at)

            came_between = await asyncio.to_thread(tell)
            await comes_true(lambda: sorted(heard) == (["one", "other"] if came_between else ["one"]))
            return came_between

        assert lines_of(tell_while_another_tells) >= 5

    def test_a_step_that_raises_does_not_stop_the_others(self) -> None:
        heard: list[str] = []

        async def listen() -> None:
            loop = this_loop()
            loop.tell(lambda: heard.append("before"))
            loop.tell(lambda: 1 // 0)  # type: ignore[arg-type]
            loop.tell(lambda: heard.append("behind"))
            await let_run()
            loop.tell(lambda: heard.append("later"))
            await let_run()

        with capture_logs() as log:
            run(listen())
        assert heard == ["before", "behind", "later"]
        assert [entry["event"] for entry in log] == ["loop_step_failed"]

    def test_a_loop_that_is_closed_hears_nothing_and_harms_nobody(self) -> None:
        heard: list[str] = []
        loop = Loop()
        loop.close()
        for _ in range(2):
            loop.tell(lambda: heard.append("too late"))
        assert heard == []


@pytest.fixture
def no_step_fails() -> Iterator[None]:
    with capture_logs() as log:
        yield
    assert log == []


@pytest.mark.usefixtures("no_step_fails")
class TestWaiter:
    def test_is_told_from_another_thread(self) -> None:
        async def wait() -> str:
            this_loop().set_debug(True)  # then whoever touches it from another thread fails, even if it is not asleep
            waiter: Waiter[str] = Waiter()
            waiting = asyncio.create_task(soon(waiter))
            await let_run()
            await asyncio.to_thread(waiter.tell, "answer")
            return await waiting

        assert run(wait()) == "answer"

    def test_what_was_told_before_somebody_waits_is_kept(self) -> None:
        async def wait() -> str:
            waiter: Waiter[str] = Waiter()
            elsewhere(lambda: waiter.tell("answer"))
            await let_run()
            return await soon(waiter)

        assert run(wait()) == "answer"

    def test_the_first_answer_counts(self) -> None:
        async def wait() -> str:
            waiter: Waiter[str] = Waiter()
            waiter.tell("first")
            waiter.tell("second")
            waiter.tell("third", ValueError("too late"))
            await let_run()
            return await soon(waiter)

        assert run(wait()) == "first"

    def test_an_error_is_raised_in_place_of_an_answer(self) -> None:
        async def wait() -> None:
            waiter: Waiter[None] = Waiter()
            waiter.tell(None, ValueError("broken"))
            waiter.tell(None)
            await soon(waiter)

        with pytest.raises(ValueError, match="broken"):
            run(wait())

    def test_an_answer_to_one_who_waits_no_longer_harms_nobody(self) -> None:
        async def wait() -> str:
            given_up: Waiter[str] = Waiter()
            other: Waiter[str] = Waiter()

            async def give_up() -> None:
                await given_up

            waiting = asyncio.create_task(give_up())
            await let_run()
            waiting.cancel()
            await let_run()
            given_up.tell("nobody")
            other.tell("somebody")
            return await soon(other)

        assert run(wait()) == "somebody"

    def test_is_made_on_a_job_loop_only(self) -> None:
        async def wait() -> None:
            Waiter()

        with pytest.raises(RuntimeError, match="no running event loop"):
            Waiter()
        with pytest.raises(AssertionError):
            asyncio.run(wait())


@pytest.mark.usefixtures("no_step_fails")
class TestStopping:
    def test_a_rest_ends_by_time(self) -> None:
        async def rest() -> tuple[bool, bool]:
            stopping = Stopping(this_loop())
            ended = await soon(stopping.rest(0.01)), await soon(stopping.rest(0.0))
            assert not stopping._resting
            return ended

        assert run(rest()) == (False, False)

    def test_a_rest_takes_its_time(self) -> None:
        async def rest() -> bool:
            resting = asyncio.create_task(Stopping(this_loop()).rest(LONG_SECONDS))
            await let_run()
            return resting.done()

        assert not run(rest())

    def test_every_rest_ends_at_once_when_it_stops(self) -> None:
        async def rest() -> list[bool]:
            stopping = Stopping(this_loop())
            rests = [asyncio.create_task(stopping.rest(LONG_SECONDS)) for _ in range(10)]
            short = [asyncio.create_task(stopping.rest(0.0)) for _ in range(2)]
            await let_run()
            rests[3].cancel()
            elsewhere(stopping.set)
            elsewhere(stopping.set)
            return await soon(asyncio.gather(*short, *rests[:3], *rests[4:]))

        assert run(rest()) == [False] * 2 + [True] * 9

    @pytest.mark.parametrize("seconds", [LONG_SECONDS, 0.0])
    def test_there_is_no_rest_once_it_stops(self, seconds: float) -> None:
        async def rest() -> tuple[bool, bool, bool]:
            stopping = Stopping(this_loop())
            before = stopping.is_set()
            stopping.set()
            return before, stopping.is_set(), await soon(stopping.rest(seconds))

        assert run(rest()) == (False, True, True)

    def test_a_stop_before_any_line_of_a_rest_ends_it(self) -> None:
        async def stop_while_it_lies_down(number: int) -> bool:
            stopping = Stopping(this_loop())
            with before_line(Stopping.rest, number, lambda: elsewhere(stopping.set)) as at:
                resting = asyncio.create_task(stopping.rest(LONG_SECONDS))
                await let_run()
            if not at:
                stopping.set()
            assert await soon(resting)
            return bool(at)

        assert lines_of(stop_while_it_lies_down) >= 5

    def test_a_rest_knows_that_a_stop_ended_it_whichever_line_that_is_at(self) -> None:
        async def rest_while_it_stops(number: int) -> bool:
            loop = this_loop()
            stopping = Stopping(loop)
            resting = asyncio.create_task(stopping.rest(LONG_SECONDS))
            await let_run()

            def stop() -> bool:
                step_in = asyncio.run_coroutine_threadsafe
                with before_line(Stopping.set, number, lambda: step_in(let_run(), loop).result()) as at:
                    stopping.set()
                return bool(at)

            come_to = await asyncio.to_thread(stop)
            assert await soon(resting)
            return come_to

        assert lines_of(rest_while_it_stops) >= 2

    def test_a_rest_that_is_cancelled_is_forgotten(self) -> None:
        async def stop() -> None:
            stopping = Stopping(this_loop())
            resting = asyncio.create_task(stopping.rest(LONG_SECONDS))
            await let_run()
            resting.cancel()
            await let_run()
            assert not stopping._resting
            stopping.set()
            await let_run()

        run(stop())


class Calling:
    """A service that makes a call in the pool, and then waits for its stop."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.called = False
        self._error = error
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        await asyncio.to_thread(self._call)
        if self._error is not None:
            raise self._error
        await self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()

    def _call(self) -> None:
        self.called = True


class TestServices:
    @pytest.mark.parametrize("fault", [ValueError("a fault"), SystemExit(1)])
    def test_one_that_ends_by_itself_is_a_fault_and_ends_nothing_else(
        self, jobs: LoopThread, fault: BaseException
    ) -> None:
        with capture_logs() as log:
            jobs.serve("well", Calling())
            jobs.serve("broken", Calling(fault))
            wait_until(lambda: jobs.ended_services() == ["broken"])
            wait_until(lambda: [entry["service"] for entry in log if entry["event"] == "service_ended"] == ["broken"])
        goes_on(jobs)

    def test_one_that_is_stopped_is_none(self, jobs: LoopThread) -> None:
        with capture_logs() as log:
            jobs.serve("well", Calling())
            for _ in range(2):
                assert jobs.submit(jobs.stop_service("well")).result(PATIENCE_SECONDS)
        assert jobs.ended_services() == []
        assert log == []

    def test_a_stop_that_takes_long_is_not_waited_for(self, jobs: LoopThread) -> None:
        may_end = threading.Event()

        class Stubborn(Calling):
            def _call(self) -> None:
                may_end.wait(PATIENCE_SECONDS)

        jobs.serve("stubborn", Stubborn())
        try:
            assert not jobs.submit(jobs.stop_service("stubborn", 0.01)).result(PATIENCE_SECONDS)
        finally:
            may_end.set()

    def test_the_end_of_the_loop_breaks_off_what_was_not_stopped(self) -> None:
        jobs, service = LoopThread(1), Calling()
        jobs.start()
        jobs.serve("well", service)
        wait_until(lambda: service.called)
        jobs.stop()
        assert jobs.loop.is_closed()


class TestGathered:
    def test_what_is_asked_at_the_same_moment_is_one_call(self) -> None:
        calls: list[list[int]] = []

        def ask_all(numbers: Sequence[int]) -> list[int]:
            calls.append(list(numbers))
            return [10 * number for number in numbers]

        async def ask() -> None:
            gathered = Gathered(ask_all)
            assert await asyncio.gather(*map(gathered.ask, (1, 2, 3))) == [10, 20, 30]
            assert await gathered.ask(4) == 40

        run(ask())
        assert calls == [[1, 2, 3], [4]]

    def test_each_has_its_own_error(self) -> None:
        def ask_all(numbers: Sequence[int]) -> list[int | Exception]:
            return [number or ValueError("none") for number in numbers]

        async def ask() -> list[object]:
            gathered = Gathered(ask_all)
            return await asyncio.gather(*map(gathered.ask, (1, 0, 3)), return_exceptions=True)

        one, error, three = run(ask())
        assert (one, three) == (1, 3)
        assert isinstance(error, ValueError)

    def test_a_call_that_fails_fails_for_all(self) -> None:
        def fail(numbers: Sequence[int]) -> list[int]:
            raise ConnectionError

        async def ask() -> list[object]:
            gathered = Gathered(fail)
            return await asyncio.gather(*map(gathered.ask, (1, 2)), return_exceptions=True)

        assert [type(error) for error in run(ask())] == [ConnectionError, ConnectionError]

    def test_a_call_that_no_thread_can_be_had_for_fails_for_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any) -> Any:
            raise RuntimeError("can't start new thread")

        async def ask() -> list[object]:
            gathered: Gathered[int, int] = Gathered(list)
            monkeypatch.setattr(this_loop(), "run_in_executor", refuse)
            return await soon(asyncio.gather(*map(gathered.ask, (1, 2)), return_exceptions=True))

        assert [type(error) for error in run(ask())] == [RuntimeError, RuntimeError]

    def test_one_that_does_not_wait_any_more_keeps_no_other_from_its_answer(self) -> None:
        may_answer = threading.Event()

        def ask_all(numbers: Sequence[int]) -> list[int]:
            assert may_answer.wait(PATIENCE_SECONDS)
            return list(numbers)

        async def ask() -> int:
            gathered = Gathered(ask_all)
            leaves, waits = (asyncio.ensure_future(gathered.ask(number)) for number in (1, 2))
            await let_run()
            leaves.cancel()
            await let_run()
            may_answer.set()
            return await soon(waits)

        assert run(ask()) == 2


class TestWakeup:
    def test_what_is_set_before_the_wait_is_not_lost_and_counts_once(self) -> None:
        async def go() -> None:
            wakeup = Wakeup(this_loop())
            wakeup.set()
            elsewhere(wakeup.set)
            await let_run()
            await soon(wakeup.wait(LONG_SECONDS))
            waiting = asyncio.create_task(wakeup.wait())
            await let_run()
            assert not waiting.done()
            elsewhere(wakeup.set)
            await soon(waiting)

        run(go())

    def test_a_wait_ends_after_its_time(self) -> None:
        async def go() -> None:
            for seconds in (0.0, -1.0, 0.001):
                await soon(Wakeup(this_loop()).wait(seconds))

        run(go())


@pytest.fixture
def jobs() -> Iterator[LoopThread]:
    jobs = LoopThread(2)
    jobs.start()
    yield jobs
    jobs.stop()
    assert not jobs._thread.is_alive()


def goes_on(jobs: LoopThread) -> None:
    """Wait until the loop has done what it was told before."""
    jobs.submit(asyncio.sleep(0)).result(PATIENCE_SECONDS)


class TestLoopThread:
    def test_begins_what_other_threads_bring(self, jobs: LoopThread) -> None:
        ran_on: list[tuple[int, str]] = []

        async def go(number: int) -> None:
            await asyncio.sleep(0)
            ran_on.append((number, threading.current_thread().name))

        for number in range(20):
            elsewhere(lambda number=number: jobs.begin(go(number)))  # type: ignore[misc]
        wait_until(lambda: len(ran_on) == 20)
        assert sorted(ran_on) == [(number, "worker68-loop") for number in range(20)]

    def test_one_that_waits_holds_up_nobody(self, jobs: LoopThread) -> None:
        may_go, ways = threading.Event(), list[str]()

        async def wait() -> None:
            await asyncio.to_thread(may_go.wait)
            ways.append("waited")

        async def pass_by() -> None:
            ways.append("passed")

        jobs.begin(wait())
        jobs.begin(pass_by())
        try:
            wait_until(lambda: ways == ["passed"])
        finally:
            may_go.set()
        wait_until(lambda: ways == ["passed", "waited"])

    def test_services_do_not_starve_when_all_jobs_hang(self, jobs: LoopThread) -> None:
        """Each of two jobs hangs in a call, and so does the recording of the two before them."""
        may_end, hanging = threading.Event(), list[str]()

        def hang() -> None:
            hanging.append(threading.current_thread().name)
            may_end.wait(PATIENCE_SECONDS)

        async def job() -> None:
            await asyncio.to_thread(hang)

        services = [Calling() for _ in range(SERVICES)]
        try:
            for _ in range(4):
                jobs.begin(job())
            wait_until(lambda: len(hanging) == 4)
            for number, service in enumerate(services):
                jobs.serve(str(number), service)
            wait_until(lambda: all(service.called for service in services))
            assert all(name.startswith("worker68-pool_") for name in hanging)
        finally:
            may_end.set()
        for number in range(SERVICES):
            assert jobs.submit(jobs.stop_service(str(number))).result(PATIENCE_SECONDS)

    def test_one_that_raises_does_not_end_the_others(self, jobs: LoopThread, caplog: pytest.LogCaptureFixture) -> None:
        async def fail() -> None:
            raise ValueError("broken")

        jobs.begin(fail())
        wait_until(lambda: "broken" in caplog.text)
        goes_on(jobs)

    def test_what_has_ended_is_not_kept(self, jobs: LoopThread) -> None:
        async def go() -> None:
            await asyncio.sleep(0)

        jobs.begin(go())
        goes_on(jobs)
        wait_until(lambda: not jobs._jobs)

    def test_a_stop_breaks_off_what_is_under_way(self) -> None:
        jobs, ways = LoopThread(2), list[str]()

        async def go(name: str) -> None:
            ways.append(f"{name} begun")
            try:
                await asyncio.sleep(LONG_SECONDS)
            except asyncio.CancelledError:
                await asyncio.sleep(0)  # its way to the end may take some steps
                ways.append(f"{name} cancelled")
                raise

        jobs.start()
        jobs.begin(go("a"))
        jobs.begin(go("b"))
        wait_until(lambda: len(ways) == 2)
        jobs.stop()
        assert sorted(ways) == ["a begun", "a cancelled", "b begun", "b cancelled"]
        assert not jobs._thread.is_alive()
        assert jobs.loop.is_closed()

    def test_a_stop_breaks_off_what_begins_under_it(self) -> None:
        jobs, ways = LoopThread(2), list[str]()

        async def go(name: str) -> None:
            try:
                await asyncio.sleep(LONG_SECONDS)
            finally:
                ways.append(name)

        async def bring_another() -> None:
            try:
                await asyncio.sleep(LONG_SECONDS)
            finally:
                jobs.begin(go("another"))
                await let_run()

        jobs.start()
        jobs.begin(bring_another())
        goes_on(jobs)
        jobs.stop()
        assert ways == ["another"]

    def test_a_stop_waits_for_no_helper(self) -> None:
        jobs, hang, ways = LoopThread(1), threading.Event(), list[str]()

        async def call(name: str) -> None:
            try:
                ways.append(name)
                await asyncio.to_thread(hang.wait)
            finally:
                ways.append(f"{name} over")

        jobs.start()
        jobs.begin(call("hangs"))
        jobs.begin(call("queues"))
        wait_until(lambda: len(ways) == 2)
        try:
            jobs.stop()
            assert sorted(ways) == ["hangs", "hangs over", "queues", "queues over"]
        finally:
            hang.set()

    def test_a_stop_of_an_idle_one_ends_it_and_a_second_does_nothing(self) -> None:
        jobs = LoopThread(1)
        jobs.start()
        for _ in range(2):
            jobs.stop()
            assert not jobs._thread.is_alive()
        jobs.loop.tell(lambda: pytest.fail("it has ended"))
