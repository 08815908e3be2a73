"""Group commit: many short writes in few transactions.

A commit costs a disk flush, whether it holds one write or fifty. What is to be written is handed to the one writer thread;
it runs all that wait in one transaction. A write that fails is run again alone, so that it fails alone.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, literal, select

from worker68.errors import DatabaseAway
from worker68.observe.metrics import histogram
from worker68.store.engine import transaction

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
Work = Callable[[Connection], T]
#: Does the same for many: its answers stand in the order of what it was given.
Verb = Callable[[Connection, Sequence[I]], Sequence[T]]

#: Writes in one transaction at most: it bounds how long the first one waits for the last.
GROUP_LIMIT = 128

#: Called with what became of a write, on the writer's thread: its answer, or the error. It must not wait.
Done = Callable[[Any, BaseException | None], None]


class _Write(NamedTuple):
    """What is to be written: ``verb`` is called for ``item`` together with the items of others."""

    verb: Verb[Any, Any]
    item: Any
    done: Done


class Writer:
    """The thread that writes. What hands it something may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds = histogram("worker68_writer_seconds", "One transaction of the writer, its commit included.")
        self._ended = False
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="worker68-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what is waiting, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction and return its result after the commit. The calling thread waits.

        ``work`` may run twice (its first transaction rolled back), so it must act on the connection only. Raises
        ``DatabaseAway`` when it is not known whether the commit happened: conditional statements make a repeat harmless.
        """
        answer: Future[T] = Future()

        def conclude(result: Any, error: BaseException | None) -> None:
            answer.set_result(result) if error is None else answer.set_exception(error)

        self.hand_in(each, work, conclude)
        return answer.result()

    def hand_in(self, verb: Verb[I, T], item: I, done: Done) -> None:
        """Have ``verb`` called for ``item`` and all others that wait for the same verb; ``done`` is called with what came of it.

        The same holds as for ``write``: after the writer has ended, ``done`` is called with ``DatabaseAway``.
        """
        self._waiting.put(_Write(verb, item, done))
        # Looked at after the put, as it is set before the last look: so one of the two threads sees the other.
        if self._ended:
            self._refuse_waiting()

    def _run(self) -> None:
        while group := self._next_group():
            with self.seconds.time():
                self._commit(group)
        self._ended = True
        self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        with suppress(queue.Empty):
            while True:
                if (write := self._waiting.get_nowait()) is not None:
                    write.done(None, DatabaseAway("the writer is not running"))

    def _next_group(self) -> list[_Write]:
        """Wait for what goes into the next transaction; nothing where the thread is to end."""
        group: list[_Write] = []
        with suppress(queue.Empty):
            while len(group) < GROUP_LIMIT:
                write = self._waiting.get(block=not group and not self._ending)
                if write is None:
                    self._ending = True
                else:
                    group.append(write)
        return group

    def _commit(self, group: list[_Write]) -> None:
        answers: list[tuple[_Write, Any]] = []
        try:
            with transaction(self._engine) as connection:
                for verb, writes in _by_verb(group):
                    answers += zip(writes, verb(connection, [write.item for write in writes]), strict=True)
        except DatabaseAway as away:
            for write in group:
                write.done(None, away)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked; this one must go on
            if len(group) == 1:
                group[0].done(None, error)
            else:
                for write in group:
                    self._commit([write])
        else:
            for write, answer in answers:
                write.done(answer, None)


def each(connection: Connection, works: Sequence[Work[T]]) -> list[T]:
    """The verb of works that have no verb in common."""
    return [work(connection) for work in works]


def answers(connection: Connection) -> bool:
    """Whether the database answers on this connection."""
    return connection.scalar(select(literal(1))) == 1


def _by_verb(group: Sequence[_Write]) -> Iterable[tuple[Verb[Any, Any], list[_Write]]]:
    """Gather what goes together. Who depends on a write waits for it, so that no two in a group depend on each other."""
    gathered: dict[Verb[Any, Any], list[_Write]] = {}
    for write in group:
        gathered.setdefault(write.verb, []).append(write)
    return gathered.items()
