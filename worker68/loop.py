"""The loop: the one thread on which every job goes its way, and what a job may wait for there.

In: coroutines, and what other threads tell them. Out: their steps, one at a time, so that a job that waits costs no thread. Never:
a wait of the thread itself. What takes long or may hang (SQL, Redis, a long page) runs on a helper: ``asyncio.to_thread``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar, TypeVarTuple

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Loop(asyncio.SelectorEventLoop):
    """An event loop that can be told many things from other threads for the price of one wake-up."""

    def __init__(self) -> None:
        super().__init__()
        self._told: deque[Callable[[], None]] = deque()
        self._woken = False

    def tell(self, step: Callable[[], None]) -> None:
        """Have a step run on the loop soon, in the order in which they are told. From any thread; once it is closed, never."""
        self._told.append(step)
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # closed: nobody waits there any more
                self.call_soon_threadsafe(self._hear)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run a call on a helper, as ``asyncio.to_thread`` does."""
        return super().run_in_executor(executor, _call, func, *args)

    def _hear(self) -> None:
        self._woken = False  # before the look at what there is, or a step in between is left lying
        while self._told:
            step = self._told.popleft()
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


class LoopThread:
    """The thread of the loop. ``helpers``: how many calls that may hang run beside it at most."""

    def __init__(self, helpers: int) -> None:
        self.loop = Loop()
        self._helpers = ThreadPoolExecutor(helpers, thread_name_prefix="worker68-pool")
        self.loop.set_default_executor(self._helpers)
        self._under_way: set[asyncio.Task[None]] = set()  # the loop's own; asyncio itself holds tasks only weakly
        self.rounds = 0  # how often it has answered a nudge
        self._thread = threading.Thread(target=self._run, name="worker68-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def begin(self, way: Coroutine[Any, Any, None]) -> None:
        """Let a coroutine begin soon. From any thread."""
        self.loop.tell(partial(self._begin, way))

    def nudge(self) -> None:
        """Have it count a round, as soon as it comes to that."""
        self.loop.tell(self._count)

    def stop(self) -> None:
        """Break off what is still under way, as a crash would, and end the thread."""
        self.loop.tell(self.loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        while self._under_way:  # what ends may have let something else begin
            for task in self._under_way:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*self._under_way, return_exceptions=True))
        self._helpers.shutdown(wait=False, cancel_futures=True)
        self.loop.close()

    def _begin(self, way: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(way)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _count(self) -> None:
        self.rounds += 1


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
