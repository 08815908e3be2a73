"""Celery's threads pool with its known holes closed: ``worker_pool = "worker68.broker.pool:TaskPool"``.

In: Celery's requests. Out: each one ends as a success or a failure, whatever its task raises. Stock, an exception that is no
``Exception`` (``SystemExit`` in a library) leaves the request "active" for ever. What it can not do: kill a thread. Time
limits are ignored as in the stock pool, so every wait in a task must carry its own deadline. Jobs need no thread of it: they
go their way on the loop. But it does not stop while one is under way.

Stands on Celery 5.7. Threads are started when first needed, and wait on a queue without waking up.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from billiard.einfo import ExceptionInfo
from celery.concurrency import thread
from celery.worker import state

from worker68.clock import monotonic

log = structlog.get_logger(__name__)


class TaskPool(thread.TaskPool):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.executor = ThreadPoolExecutor(max_workers=self.limit, thread_name_prefix="worker68-task")
        self._held = 0
        self._changed = threading.Condition()  # guards _held

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> thread.ApplyResult:
        future = self.executor.submit(
            _run,
            target,
            args or (),
            kwargs or {},
            callback or _ignore,
            accept_callback or _ignore,
            error_callback or _ignore,
        )
        return thread.ApplyResult(future)

    def hold(self) -> None:
        """Something is under way that needs no thread, until ``release``: a warm shutdown waits for it. From any thread."""
        with self._changed:
            self._held += 1

    def release(self) -> None:
        with self._changed:
            self._held -= 1
            if not self._held:
                self._changed.notify_all()

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Do nothing: a thread cannot be killed. Only a cold shutdown asks for it, and that must not fail here."""

    def on_stop(self) -> None:
        """Wait for what is under way; after SIGQUIT (a cold shutdown) not: it is ended with the bridge.

        SIGQUIT may come during that wait: its handler runs on the thread that waits here.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._held or state.should_terminate is not None)
        if state.should_terminate is None:
            super().on_stop()
        else:
            self.on_terminate()

    def on_terminate(self) -> None:
        """Start nothing more. The jobs that are under way end with the bridge, and what runs on a thread ends by itself."""
        log.warning("pool_terminated", jobs=self._held, threads=len(self.executor._threads))
        self.executor.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            self._changed.notify_all()


def _run(
    target: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    callback: Callable[..., Any],
    accept_callback: Callable[..., Any],
    error_callback: Callable[..., Any],
) -> None:
    tell(accept_callback, os.getpid(), monotonic())
    try:
        result = target(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - nobody above this thread would hear of it
        log.error("task_left_by_exception", exception=type(error).__name__)
        tell(error_callback, ExceptionInfo())
    else:
        tell(callback, result)


def tell(callback: Callable[..., Any], *how: Any, **words: str) -> None:
    """Tell Celery how a task fares: what goes wrong there is worth a line with these words, and changes nothing for the task."""
    try:
        callback(*how)
    except BaseException:
        log.exception("task_not_told", **words)


def _ignore(*_: Any) -> None:
    return None
