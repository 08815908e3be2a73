"""The loop: the one thread on which all jobs and services of a worker run, and what they may wait for there.

In: coroutines, and steps from other threads. Out: their steps, one at a time, so that a job that waits costs no thread. Never:
a wait of the thread itself. What takes long or may hang (SQL, Redis, a long page) runs in the pool: ``asyncio.to_thread``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar, TypeVarTuple

import structlog

log = structlog.get_logger(__name__)

I = TypeVar("I")  # noqa: E741
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Calls of services that may wait in the pool at once: one for each service (renewals and acquisitions of leases are two), and some
#: for accounts that are opened, have their upkeep, or whose lanes are loaded at the same time.
SERVICES: Final = 22


class Loop(asyncio.SelectorEventLoop):
    """An event loop that takes many steps from other threads for the price of one wake-up."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: deque[Callable[[], None]] = deque()
        self._woken = False

    def tell(self, step: Callable[[], None]) -> None:
        """Have a step run on the loop soon, in the order of these calls. From any thread; once it is closed, never."""
        self._steps.append(step)
        if not self._woken:
            self._woken = True
            # From the loop itself no thread has to be woken, which costs a write and a read of a socket.
            soon = self.call_soon if asyncio._get_running_loop() is self else self.call_soon_threadsafe
            with suppress(RuntimeError):  # closed: nothing waits there any more
                soon(self._hear)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run a call in the pool, as ``asyncio.to_thread`` does."""
        return super().run_in_executor(executor, _call, func, *args)

    def _hear(self) -> None:
        self._woken = False  # before the look at what there is, or a step in between is left lying
        while self._steps:
            step = self._steps.popleft()
            try:
                step()
            except Exception:
                log.exception("loop_step_failed")


class Waiter(Generic[T]):
    """An answer that another thread gives and a coroutine awaits. Made on the loop."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self._loop = loop
        self._future: asyncio.Future[T] = loop.create_future()

    def tell(self, answer: T, error: BaseException | None = None) -> None:
        """Give the answer, or an error in place of it. From any thread; the first one counts."""
        self._loop.tell(partial(self._end, answer, error))

    def __await__(self) -> Generator[Any, None, T]:
        return self._future.__await__()

    def _end(self, answer: T, error: BaseException | None) -> None:
        if self._future.done():
            return
        if error is None:
            self._future.set_result(answer)
        else:
            self._future.set_exception(_tellable(error))


class Gathered(Generic[I, T]):
    """One call in the pool for what several coroutines ask at the same moment. On the loop.

    ``ask_all`` gets what they ask, in order, and returns an answer or an error for each. Where it raises, all of them do.
    """

    def __init__(self, ask_all: Callable[[Sequence[I]], Sequence[T | Exception]]) -> None:
        self._ask_all = ask_all
        self._waiting: list[tuple[I, asyncio.Future[T]]] = []

    async def ask(self, item: I) -> T:
        """Return the answer for this item."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append((item, answer))
        if len(self._waiting) == 1:
            loop.call_soon(self._call, loop)  # after all that can run now, and may ask too
        return await answer

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            call = loop.run_in_executor(None, self._ask_all, [item for item, _ in waiting])
        except Exception as error:  # noqa: BLE001 - no thread can be started: they would wait for ever
            call = loop.create_future()
            call.set_exception(error)
        call.add_done_callback(partial(_hand_out, [answer for _, answer in waiting]))


class Wakeup:
    """Wakes one coroutine of the loop when there is something to do. ``set`` from any thread."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def set(self) -> None:
        """There is something to do. The coroutine that it wakes sees what was handed over before this call. Does not wait."""
        if not self._event.is_set():
            self._loop.tell(self._event.set)

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until it was set since the last wait, so long at most."""
        timer = None if seconds is None else self._loop.call_later(max(0.0, seconds), self._event.set)
        try:
            await self._event.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._event.clear()


class Stopping:
    """Whether the worker stops, and rests that end when it does."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._is_set = False
        self._resting: set[asyncio.Future[None]] = set()  # the loop's own

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """It stops. From any thread; for good."""
        self._is_set = True
        self._loop.tell(self._wake_all)

    async def rest(self, seconds: float) -> bool:
        """Let time pass, or less of it where the worker stops; return whether it does. On the loop."""
        if self._is_set or seconds <= 0:
            return self._is_set
        over = self._loop.create_future()
        timer = self._loop.call_later(seconds, _end, over)
        self._resting.add(over)
        try:
            await over
        finally:
            timer.cancel()
            self._resting.discard(over)
        return self._is_set

    def _wake_all(self) -> None:
        for over in self._resting:
            _end(over)


class Service(Protocol):
    """A part of a worker that goes on as long as the worker runs."""

    async def run(self) -> None:
        """Go on until ``stop``, whatever fails; what is then still to be done is done before this returns."""

    def stop(self) -> None:
        """Let ``run`` come to its end. On the loop; does not wait."""


class LoopThread:
    """The thread of the loop, and the pool. Jobs are begun and services served from any thread.

    ``jobs``: how many of them run at once. The pool has a thread for each of them, for each whose outcome is being recorded, which
    may be as many again, and for each service: so none waits for a thread, however many calls hang. Threads begin when needed.
    """

    def __init__(self, jobs: int) -> None:
        self.loop = Loop()
        self._pool = ThreadPoolExecutor(2 * jobs + SERVICES, thread_name_prefix="worker68-pool")
        self.loop.set_default_executor(self._pool)
        self._jobs: set[asyncio.Task[None]] = set()  # the loop's own; asyncio itself holds tasks only weakly
        self._services: dict[str, tuple[Service, asyncio.Task[None]]] = {}
        self._thread = threading.Thread(target=self._run, name="worker68-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let a job begin soon. From any thread."""
        self.loop.tell(partial(self._begin, coroutine))

    def serve(self, name: str, service: Service) -> None:
        """Let a service begin soon. From any thread."""
        self.loop.tell(partial(self._serve, name, service))

    async def stop_service(self, name: str, seconds: float | None = None) -> bool:
        """Let a service come to its end; wait for that, so long at most. On the loop. Return whether it has ended."""
        if name not in self._services:
            return True
        service, task = self._services.pop(name)
        service.stop()
        await asyncio.wait([task], timeout=seconds)
        return task.done()

    async def break_off_jobs(self) -> None:
        """End what is still under way, as a crash would. On the loop."""
        while self._jobs:  # what ends may have let something else begin
            for task in self._jobs:
                task.cancel()
            await asyncio.wait(self._jobs)

    def ended_services(self) -> list[str]:
        """Return the services that have ended by themselves, which is a fault. On any thread."""
        return [name for name, (_, task) in self._services.copy().items() if task.done()]

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop; return what another thread can wait for."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    @property
    def ident(self) -> int | None:
        """The number of the thread, None before its start."""
        return self._thread.ident

    def stop(self) -> None:
        """Break off what is still under way, and end the thread."""
        if self._thread.is_alive():
            self.loop.tell(self.loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.break_off_jobs())
        left = asyncio.all_tasks(self.loop)  # also a service that was stopped, and hangs
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.loop.close()

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def _serve(self, name: str, service: Service) -> None:
        self._services[name] = (service, self.loop.create_task(self._run_service(name, service)))

    async def _run_service(self, name: str, service: Service) -> None:
        fault: BaseException | None = None
        try:
            await service.run()
        except asyncio.CancelledError:
            raise  # the loop ends
        except BaseException as error:  # noqa: BLE001 - a SystemExit would end the loop, and all jobs with it
            fault = error
        if fault is not None or name in self._services:
            log.error("service_ended", service=name, remedy="restart the worker", exc_info=fault)


def _hand_out(waiting: Sequence[asyncio.Future[T]], call: asyncio.Future[Sequence[T | Exception]]) -> None:
    """Give each its answer, or its error."""
    if call.cancelled():  # the loop ends
        for future in waiting:
            future.cancel()
        return
    error = call.exception()
    answers: Sequence[T | BaseException] = [error] * len(waiting) if error is not None else call.result()
    for future, answer in zip(waiting, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _call(func: Callable[[*Ts], T], *args: *Ts) -> T:
    try:
        return func(*args)
    except StopIteration as error:
        raise _tellable(error) from error


def _tellable(error: BaseException) -> BaseException:
    """Return an error as a future takes it: it refuses a ``StopIteration``, and would be awaited for ever."""
    if not isinstance(error, StopIteration):
        return error
    instead = RuntimeError("a StopIteration left what was awaited")
    instead.__cause__ = error
    return instead
