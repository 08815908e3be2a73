"""A call as a job waits for it: however it ends and whenever, the wait ends too, and nobody else's does."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import suppress

import pytest

from tests.parts.onloop import let_run, run, soon
from worker68.bridge.calls import Call, Pending
from worker68.clock import Deadline, monotonic
from worker68.jobs.evidence import Evidence

LONG_SECONDS = 3600.0
GIVEN_UP = "given up before a byte was written"


class StubLink:
    """Stands for a link: keeps which calls were given up, and ends them as a session does."""

    def __init__(self) -> None:
        self.given_up: list[Call] = []

    def call(self) -> Call:
        return Call(Pending("r0"), b"", give_up=self._withdraw)

    def _withdraw(self, call: Call) -> None:
        self.given_up.append(call)
        call.finish(None if call.written else GIVEN_UP)


@pytest.fixture
def link() -> StubLink:
    return StubLink()


def answer(call: Call, data: object = "data") -> None:
    call.pending.note_written(monotonic())
    call.pending.note_reply(data, None)
    call.finish()


def wait(call: Call, seconds: float) -> Evidence:
    return run(soon(call.wait(Deadline.after(seconds))))


class TestHowItEnds:
    def test_one_that_is_over_before_somebody_waits_is_told_at_once(self, link: StubLink) -> None:
        call = link.call()
        answer(call)
        assert wait(call, LONG_SECONDS).data == "data"
        assert link.given_up == []

    def test_one_that_was_refused_before_somebody_waits_says_why(self, link: StubLink) -> None:
        call = link.call()
        call.finish("paused")
        seen = wait(call, LONG_SECONDS)
        assert (seen.written, seen.refusal) == (False, "paused")
        assert link.given_up == []

    def test_it_ends_only_once(self, link: StubLink) -> None:
        call = link.call()
        call.finish("paused")
        call.finish("the link is closed")
        assert wait(call, LONG_SECONDS).refusal == "paused"

    def test_over_may_be_waited_for_again(self, link: StubLink) -> None:
        call = link.call()
        answer(call)
        assert wait(call, LONG_SECONDS) == wait(call, 0.0)

    def test_many_that_are_waited_for_each_end_with_their_own(self, link: StubLink) -> None:
        calls = [link.call() for _ in range(500)]

        async def wait_for_all() -> list[Evidence]:
            waits = [asyncio.create_task(call.wait(Deadline.after(LONG_SECONDS))) for call in reversed(calls)]
            await let_run()
            for number, call in enumerate(calls):
                answer(call, number)
            return await soon(asyncio.gather(*waits))

        assert [one.data for one in run(wait_for_all())] == list(reversed(range(500)))
        assert link.given_up == []

    def test_nothing_of_an_ended_wait_is_kept_until_its_deadline(self, link: StubLink) -> None:
        async def wait_and_forget() -> weakref.ref[Call]:
            call = link.call()
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
    def test_the_deadline_gives_it_up(self, link: StubLink) -> None:
        call = link.call()
        seen = wait(call, 0.0)
        assert (seen.written, seen.refusal) == (False, GIVEN_UP)
        assert link.given_up == [call]

    def test_what_was_written_and_not_answered_is_not_refused(self, link: StubLink) -> None:
        call = link.call()
        call.pending.note_written(monotonic())
        seen = wait(call, 0.0)
        assert (seen.written, seen.replied, seen.refusal) == (True, False, None)
        assert link.given_up == [call]

    def test_a_deadline_that_passes_while_it_is_held_leaves_it_as_long_again(self, link: StubLink) -> None:
        call = link.call()
        call.held_since = monotonic() - LONG_SECONDS

        async def answer_after_the_deadline() -> Evidence:
            waiting = asyncio.create_task(call.wait(Deadline.after(0.0)))
            await let_run()
            assert link.given_up == []
            answer(call)
            return await soon(waiting)

        assert run(answer_after_the_deadline()).data == "data"
        assert link.given_up == []

    def test_a_hold_without_end_ends_with_the_second_deadline(self, link: StubLink) -> None:
        call = link.call()
        call.held_since = monotonic() - 0.01
        assert wait(call, 0.0).refusal == GIVEN_UP
        assert link.given_up == [call]

    def test_only_the_time_until_the_write_counts_as_held(self, link: StubLink) -> None:
        call = link.call()
        call.held_since = monotonic() - LONG_SECONDS
        call.pending.note_written(call.held_since + 0.01)
        seen = wait(call, 0.0)
        assert (seen.written, seen.refusal) == (True, None)
        assert link.given_up == [call]

    @pytest.mark.parametrize("seconds", [LONG_SECONDS, 0.0], ids=["before the deadline", "held over the deadline"])
    def test_a_wait_that_is_cancelled_gives_it_up(self, link: StubLink, seconds: float) -> None:
        call = link.call()
        call.held_since = monotonic() - LONG_SECONDS

        async def cancel() -> bool:
            waiting = asyncio.create_task(call.wait(Deadline.after(seconds)))
            await let_run()
            assert link.given_up == []
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await soon(waiting)
            return waiting.cancelled()

        assert run(cancel())
        assert link.given_up == [call]
        assert call.refusal == GIVEN_UP

    def test_one_that_is_over_is_not_given_up(self, link: StubLink) -> None:
        with link.call() as call:
            answer(call)
        assert link.given_up == []
