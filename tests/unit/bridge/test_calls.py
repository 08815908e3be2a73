"""A call as a job waits for it: however it ends and whenever, the wait ends too, and nobody else's does."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from contextlib import suppress

import pytest

from tests.parts.lines import before_line
from tests.parts.onloop import let_run, run, soon
from worker68.bridge.calls import Call
from worker68.bridge.pending import Pending
from worker68.clock import Deadline, monotonic
from worker68.jobs.evidence import Evidence

LONG_SECONDS = 3600.0
GIVEN_UP = "given up before a byte was written"


class Desk:
    """Stands for the I/O thread: keeps which calls were given up, and ends them as a session does."""

    def __init__(self) -> None:
        self.given_up: list[Call] = []

    def call(self) -> Call:
        return Call(Pending("r0"), b"", None, self._withdraw)

    def _withdraw(self, call: Call) -> None:
        self.given_up.append(call)
        call.finish(None if call.written else GIVEN_UP)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def answer(call: Call, data: object = "data") -> None:
    call.pending.note_written(monotonic())
    call.pending.note_reply(data, None)
    call.finish()


def wait(call: Call, seconds: float) -> Evidence:
    return run(soon(call.wait(Deadline.after(seconds))))


class TestHowItEnds:
    def test_one_that_is_over_before_somebody_waits_is_told_at_once(self, desk: Desk) -> None:
        call = desk.call()
        answer(call)
        assert wait(call, LONG_SECONDS).data == "data"
        assert desk.given_up == []

    def test_one_that_was_refused_before_somebody_waits_says_why(self, desk: Desk) -> None:
        call = desk.call()
        call.finish("paused")
        seen = wait(call, LONG_SECONDS)
        assert (seen.written, seen.refusal) == (False, "paused")
        assert desk.given_up == []

    def test_it_ends_only_once(self, desk: Desk) -> None:
        call = desk.call()
        call.finish("paused")
        call.finish("the link is closed")
        assert wait(call, LONG_SECONDS).refusal == "paused"

    def test_over_may_be_waited_for_again(self, desk: Desk) -> None:
        call = desk.call()
        answer(call)
        assert wait(call, LONG_SECONDS) == wait(call, 0.0)

    def test_ended_by_another_thread_before_any_line_of_the_wait(self, desk: Desk) -> None:
        async def wait_and_end(call: Call, number: int) -> bool:
            with before_line(Call.wait, number, lambda: answer(call)) as reached:
                waiting = asyncio.create_task(call.wait(Deadline.after(LONG_SECONDS)))
                await let_run()
            if not reached:
                answer(call)
            assert (await soon(waiting)).data == "data"
            return bool(reached)

        lines = next(number for number in itertools.count() if not run(wait_and_end(desk.call(), number)))
        assert lines >= 5
        assert desk.given_up == []

    def test_waited_for_before_any_line_of_its_end(self, desk: Desk) -> None:
        async def end_and_wait(call: Call, number: int) -> bool:
            loop, waits = asyncio.get_running_loop(), list[asyncio.Task[Evidence]]()

            async def begin_to_wait() -> None:
                waits.append(asyncio.create_task(call.wait(Deadline.after(LONG_SECONDS))))
                await let_run()

            def end() -> None:
                step_in = asyncio.run_coroutine_threadsafe
                with before_line(Call.finish, number, lambda: step_in(begin_to_wait(), loop).result()):
                    call.finish("paused")

            await asyncio.to_thread(end)
            for waiting in waits:
                assert (await soon(waiting)).refusal == "paused"
            return bool(waits)

        lines = next(number for number in itertools.count() if not run(end_and_wait(desk.call(), number)))
        assert lines >= 4
        assert desk.given_up == []

    def test_many_that_are_waited_for_each_end_with_their_own(self, desk: Desk) -> None:
        calls = [desk.call() for _ in range(500)]

        def answer_all() -> None:
            for number, call in enumerate(calls):
                answer(call, number)

        async def wait_for_all() -> list[Evidence]:
            thread = threading.Thread(target=answer_all)
            waits = [asyncio.create_task(call.wait(Deadline.after(LONG_SECONDS))) for call in reversed(calls)]
            thread.start()
            seen = await soon(asyncio.gather(*waits))
            thread.join()
            return seen

        assert [one.data for one in run(wait_for_all())] == list(reversed(range(500)))
        assert desk.given_up == []

    def test_nothing_of_an_ended_wait_is_kept_until_its_deadline(self, desk: Desk) -> None:
        async def wait_and_forget() -> weakref.ref[Call]:
            call = desk.call()
            waiting = asyncio.create_task(call.wait(Deadline.after(LONG_SECONDS)))
            await let_run()
            answer(call)
            await soon(waiting)
            return weakref.ref(call)

        async def forget() -> Call | None:
            forgotten = await wait_and_forget()
            gc.collect()
            return forgotten()

        assert run(forget()) is None


class TestGivingUp:
    def test_the_deadline_gives_it_up(self, desk: Desk) -> None:
        call = desk.call()
        seen = wait(call, 0.0)
        assert (seen.written, seen.refusal) == (False, GIVEN_UP)
        assert desk.given_up == [call]

    def test_what_was_written_and_not_answered_is_not_refused(self, desk: Desk) -> None:
        call = desk.call()
        call.pending.note_written(monotonic())
        seen = wait(call, 0.0)
        assert (seen.written, seen.replied, seen.refusal) == (True, False, None)
        assert desk.given_up == [call]

    def test_a_deadline_that_passes_while_it_is_held_leaves_it_as_long_again(self, desk: Desk) -> None:
        call = desk.call()
        call.held_since = monotonic() - LONG_SECONDS

        async def answer_after_the_deadline() -> Evidence:
            waiting = asyncio.create_task(call.wait(Deadline.after(0.0)))
            await let_run()
            assert desk.given_up == []
            answer(call)
            return await soon(waiting)

        assert run(answer_after_the_deadline()).data == "data"
        assert desk.given_up == []

    def test_a_hold_without_end_ends_with_the_second_deadline(self, desk: Desk) -> None:
        call = desk.call()
        call.held_since = monotonic() - 0.01
        assert wait(call, 0.0).refusal == GIVEN_UP
        assert desk.given_up == [call]

    def test_only_the_time_until_the_write_counts_as_held(self, desk: Desk) -> None:
        call = desk.call()
        call.held_since = monotonic() - LONG_SECONDS
        call.pending.note_written(call.held_since + 0.01)
        seen = wait(call, 0.0)
        assert (seen.written, seen.refusal) == (True, None)
        assert desk.given_up == [call]

    @pytest.mark.parametrize("seconds", [LONG_SECONDS, 0.0], ids=["before the deadline", "held over the deadline"])
    def test_a_wait_that_is_cancelled_gives_it_up(self, desk: Desk, seconds: float) -> None:
        call = desk.call()
        call.held_since = monotonic() - LONG_SECONDS

        async def cancel() -> bool:
            waiting = asyncio.create_task(call.wait(Deadline.after(seconds)))
            await let_run()
            assert desk.given_up == []
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await soon(waiting)
            return waiting.cancelled()

        assert run(cancel())
        assert desk.given_up == [call]
        assert call.refusal == GIVEN_UP

    def test_one_that_is_over_is_not_given_up(self, desk: Desk) -> None:
        with desk.call() as call:
            answer(call)
        assert desk.given_up == []
