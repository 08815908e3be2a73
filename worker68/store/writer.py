"""Group commit: the short writes of many threads in few transactions.

A commit costs a disk flush, whether it holds one write or fifty. Threads hand their write to the one writer thread and wait; it
runs all that are waiting in one transaction. A write that fails is run again alone, so that it fails alone.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from worker68.errors import DatabaseAway
from worker68.observe.latency import Latency
from worker68.store.engine import transaction

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
Work = Callable[[Connection], T]
#: Does the same for many: its answers stand in the order of what it was given.
Verb = Callable[[Connection, Sequence[I]], Sequence[T]]

#: Writes in one transaction at most: it bounds how long the first one waits for the last.
GROUP_LIMIT = 64


class _Write:
    """What one thread wants written: ``verb`` is told of ``item`` together with those of other threads.

    A future for one thread that waits and one that answers, once: a lock is all that these need, and a fraction of the cost.
    """

    __slots__ = ("_answer", "_answered", "_error", "item", "verb")

    def __init__(self, verb: Verb[Any, Any], item: Any) -> None:
        self.verb = verb
        self.item = item
        self._answer: Any = None
        self._error: BaseException | None = None
        self._answered = threading.Lock()
        self._answered.acquire()

    def answer(self, answer: Any) -> None:
        self._answer = answer
        self._answered.release()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._answered.release()

    def wait(self) -> Any:
        self._answered.acquire()
        if self._error is not None:
            raise self._error
        return self._answer


class Writer:
    """The thread that writes. ``write`` and ``write_with`` may be called from any thread; they return once it is committed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.latency = Latency()  # of one transaction, its commit included
        self._lock = threading.Lock()  # guards _closed: nothing is handed in after the thread's last look
        self._closed = True
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="worker68-writer", daemon=True)

    def start(self) -> None:
        self._closed = False
        self._thread.start()

    def stop(self) -> None:
        """Write what is waiting, then end the thread."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction and return its result after the commit.

        ``work`` may run twice (its first transaction rolled back), so it must act on the connection only. Raises
        ``DatabaseAway`` when it is not known whether the commit happened: conditional statements make a repeat harmless.
        """
        return self.write_with(_each, work)

    def write_with(self, verb: Verb[I, T], item: I) -> T:
        """Do as ``write``; what waits for the same ``verb`` is done by one call of it, whose statements serve them all."""
        write = _Write(verb, item)
        with self._lock:
            if self._closed:
                raise DatabaseAway("the writer is not running")
            self._waiting.put(write)
        answer: T = write.wait()
        return answer

    def _run(self) -> None:
        stopping = False
        while not stopping:
            first = self._waiting.get()
            if first is None:
                return
            group = [first]
            while len(group) < GROUP_LIMIT:
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    stopping = True
                    break
                group.append(item)
            with self.latency.measured():
                self._commit(group)

    def _commit(self, group: list[_Write]) -> None:
        answers: list[tuple[_Write, Any]] = []
        try:
            with transaction(self._engine) as connection:
                for verb, writes in _by_verb(group):
                    answers += zip(writes, verb(connection, [write.item for write in writes]), strict=True)
        except DatabaseAway as away:
            for write in group:
                write.fail(away)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked; this one must go on
            if len(group) == 1:
                group[0].fail(error)
            else:
                for write in group:
                    self._commit([write])
        else:
            for write, answer in answers:
                write.answer(answer)


def _each(connection: Connection, works: Sequence[Work[T]]) -> list[T]:
    return [work(connection) for work in works]


def _by_verb(group: Sequence[_Write]) -> Iterable[tuple[Verb[Any, Any], list[_Write]]]:
    """Gather what goes together. Each thread waits for its write, so that no two in a group depend on each other."""
    gathered: dict[Verb[Any, Any], list[_Write]] = {}
    for write in group:
        gathered.setdefault(write.verb, []).append(write)
    return gathered.items()
