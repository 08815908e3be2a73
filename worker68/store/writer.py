"""Group commit: the short writes of many threads in few transactions.

A commit costs a disk flush, whether it holds one write or fifty. Threads hand their write to the one writer thread and wait; it
runs all that are waiting in one transaction. A write that fails is run again alone, so that it fails alone.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from worker68.errors import DatabaseAway
from worker68.store.engine import transaction

T = TypeVar("T")
Write = Callable[[Connection], Any]

#: Writes in one transaction at most: it bounds how long the first one waits for the last.
GROUP_LIMIT = 64


class Writer:
    """The thread that writes. ``write`` may be called from any thread; it returns what the work returned, once committed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()  # guards _closed: nothing is handed in after the thread's last look
        self._closed = True
        self._waiting: queue.SimpleQueue[tuple[Write, Future[Any]] | None] = queue.SimpleQueue()
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

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction and return its result after the commit.

        ``work`` may run twice (its first transaction rolled back), so it must act on the connection only. Raises
        ``DatabaseAway`` when it is not known whether the commit happened: conditional statements make a repeat harmless.
        """
        done: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise DatabaseAway("the writer is not running")
            self._waiting.put((work, done))
        return done.result()

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
            self._commit(group)

    def _commit(self, group: list[tuple[Write, Future[Any]]]) -> None:
        try:
            with transaction(self._engine) as connection:
                results = [work(connection) for work, _ in group]
        except DatabaseAway as away:
            for _, done in group:
                done.set_exception(away)
        except Exception as error:  # noqa: BLE001 - handed to the thread that asked
            if len(group) == 1:
                group[0][1].set_exception(error)
            else:
                for item in group:
                    self._commit([item])
        else:
            for (_, done), result in zip(group, results, strict=True):
                done.set_result(result)
