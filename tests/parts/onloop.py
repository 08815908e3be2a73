"""A loop for tests: what runs there in a worker is run to its end by the test's own thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

from worker68.bridge.calls import Call
from worker68.clock import Deadline
from worker68.jobs.evidence import Evidence
from worker68.loop import Loop, LoopThread, Service

P = ParamSpec("P")
T = TypeVar("T")

#: A test that waits longer than this for anything has failed.
PATIENCE_SECONDS: Final = 60.0


_lasting: list[asyncio.Runner] = []


@contextmanager
def one_loop() -> Iterator[Loop]:
    """Let each ``run`` in this block go on with the same loop: for what lives there from one to the next, such as a link."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        _lasting.append(runner)
        try:
            yield loop
        finally:
            _lasting.remove(runner)


def run(way: Awaitable[T]) -> T:
    """Run a coroutine on the loop of ``one_loop``, or on one of its own; return what it returns."""

    async def go() -> T:
        return await way

    if _lasting:
        return _lasting[-1].run(go())
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(go())


def evidence_of(call: Call, seconds: float = PATIENCE_SECONDS) -> Evidence:
    """Wait for a call as a job does, so many seconds at most."""
    return run(call.wait(Deadline.after(seconds)))


async def let_run() -> None:
    """Let whatever can go on now on the loop go on, also what its going on lets go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def soon(way: Awaitable[T]) -> T:
    """Wait for something that must come; fail where it does not."""
    return await asyncio.wait_for(way, PATIENCE_SECONDS)


def in_pool(call: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Let a function run in the pool when it is awaited, as what blocks does in a worker."""

    async def ask(*given: P.args, **named: P.kwargs) -> T:
        return await asyncio.to_thread(call, *given, **named)

    return ask


@contextmanager
def running_loop(jobs: int = 2) -> Iterator[LoopThread]:
    """A loop on a thread of its own, as a worker has it."""
    thread = LoopThread(jobs)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


def serve(thread: LoopThread, service: Service) -> None:
    """Let a service run until ``stop_service``."""
    thread.serve(str(id(service)), service)


def stop_service(thread: LoopThread, service: Service) -> None:
    """Let a service come to its end, and wait for that. A second time it does nothing."""
    assert thread.submit(thread.stop_service(str(id(service)), PATIENCE_SECONDS)).result(2 * PATIENCE_SECONDS)
