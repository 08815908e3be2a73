"""A fault of worker68's own in one job's turn is that job's end, and of nothing else: the loop goes on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.parts.jobs import SEND, message
from tests.parts.ledger import FENCE, OWNER, Ledger
from worker68.clock import monotonic
from worker68.errors import DatabaseAway
from worker68.execution.execute import Execution, run_apart
from worker68.execution.slots import Ready, Slot, ask_of
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome
from worker68.loop import Loop
from worker68.store.engine import transaction
from worker68.store.statements.attempts import Attempt


class Broken:
    """An execution whose turns break off, and may be able to write that down."""

    def __init__(self, ledger: Ledger, fault: BaseException, writes: BaseException | None = None) -> None:
        self._ledger = ledger
        self._fault = fault
        self._writes = writes
        self.finished: list[Job] = []
        dispatch = SimpleNamespace(finish=self.finished.append)
        self.account = SimpleNamespace(dispatch=dispatch, shared=SimpleNamespace(announce=self.announce))
        self.announced = 0

    def attempt(self, job: Job) -> Attempt:
        return Attempt(job, job.attempts + 1, OWNER, FENCE)

    async def run(self, ready: Ready) -> None:
        await asyncio.sleep(0)
        raise self._fault

    async def write(self, work: Any) -> Any:
        await asyncio.sleep(0)
        if self._writes is not None:
            raise self._writes
        with transaction(self._ledger.engine) as connection:
            return work(connection)

    def announce(self) -> None:
        self.announced += 1


@pytest.fixture
def ready(ledger: Ledger) -> Ready:
    (job,) = ledger.arrive(message(SEND))
    return Ready(job, Slot(ask_of(job), monotonic(), monotonic()))


def run(loop: Loop, broken: Broken, ready: Ready) -> Outcome | None:
    """Run it as the runtime does: what left the task would leave the loop."""
    return cast(Outcome | None, loop.run_until_complete(run_apart(cast(Execution, broken), ready)))


@pytest.mark.parametrize("fault", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError(), MemoryError()])
def test_whatever_is_raised_ends_the_job(ledger: Ledger, loop: Loop, ready: Ready, fault: BaseException) -> None:
    broken = Broken(ledger, fault)

    outcome = run(loop, broken, ready)

    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code == ErrorCode.INTERNAL
    assert (broken.finished, broken.announced) == ([ready.job], 1)
    assert ledger.row(ready.job.seq).status == outcome.status


@pytest.mark.parametrize("writes", [SystemExit(3), ValueError(), DatabaseAway("it is gone")])
def test_one_that_cannot_be_ended_either_is_left_to_the_sweep(
    ledger: Ledger, loop: Loop, ready: Ready, writes: BaseException
) -> None:
    broken = Broken(ledger, ValueError(), writes)

    with capture_logs() as logs:
        assert run(loop, broken, ready) is None

    assert broken.finished == [ready.job]
    assert [line["event"] for line in logs] == ["turn_failed", "turn_not_ended"]


def test_where_the_database_is_away_nothing_is_called_a_failure(ledger: Ledger, loop: Loop, ready: Ready) -> None:
    broken = Broken(ledger, DatabaseAway("it is gone"))

    assert run(loop, broken, ready) is None

    assert broken.finished == [ready.job]
    assert ledger.row(ready.job.seq).state == "ready"


def test_a_turn_that_is_broken_off_with_the_process_is_left_as_it_is(ledger: Ledger, loop: Loop, ready: Ready) -> None:
    broken = Broken(ledger, asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        run(loop, broken, ready)

    assert broken.finished == []
