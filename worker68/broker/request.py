"""A job as Celery's worker knows it: one of its reserved and active requests, with its events, from the hand-over to its end.

In: a message of ``Delivery``, and what runs a job by its number. Out: a thread of the pool that runs it; Celery's events.
What Celery does for anybody's task is left out: decoding a body, a log line at either end, tracing, time limits, results.

Stands on Celery 5.7, whose ``Request`` it extends; ``tests/unit/broker`` asserts what is used of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from weakref import ref

from celery.worker import state, strategy
from celery.worker.request import Request

from worker68.clock import monotonic

#: The header that holds the number of a job.
SEQ: Final = "worker68-seq"


@dataclass(frozen=True, slots=True)
class Told:
    """How a run ended, as Celery's events tell it. ``event`` is None where there is nothing to tell."""

    event: str | None
    fields: dict[str, Any]


#: Runs a job by its number, for a task and its Celery id.
Run = Callable[[int, str], Told]


def strategy_of(run: Run) -> Callable[[Any, Any, Any], Callable[..., Any]]:
    """Return a ``Task.Strategy`` that lets ``run`` run what is delivered; any other message of the task is Celery's business."""

    def start(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
        stock = strategy.default(task, app, consumer)

        def take(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
            if SEQ not in message.headers:
                return stock(message, body, ack, reject, callbacks)
            request = JobRequest(task, app, consumer, message, run)
            if request.id in state.revoked and request.revoked():
                return None
            request.tell_received()
            state.task_reserved(request)
            for callback in callbacks or ():
                callback(request)
            consumer.on_task_request(request)
            return None

        return take

    return start


class JobRequest(Request):
    """One run of a job. Its thread acknowledges it, which only forgets it: what must survive lies in the database."""

    def __init__(self, task: Any, app: Any, consumer: Any, message: Any, run: Run) -> None:
        self._run = run
        self._seq = int(message.headers[SEQ])
        super().__init__(
            message,
            # On whatever thread: there is no connection to wait for, so Celery's loop need not be woken.
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
            hostname=consumer.hostname,
            eventer=consumer.event_dispatcher,
            app=app,
            connection_errors=consumer.connection_errors,
            task=task,
            headers=message.headers,
            body=((), {"seq": self._seq}, {}),
            decoded=True,
        )

    def tell_received(self) -> None:
        self.send_event(
            "task-received",
            name=self.name,
            args=self.argsrepr,
            kwargs=self.kwargsrepr,
            root_id=self.root_id,
            parent_id=self.parent_id,
            retries=self.request_dict.get("retries", 0),
            eta=None,
            expires=None,
        )

    def execute_using_pool(self, pool: Any, **_: Any) -> Any:
        """Let a thread of the pool carry the job. Called by Celery's worker."""
        result = pool.apply_async(
            self._run,
            (self._seq, self.id),
            accept_callback=self.on_accepted,
            callback=self._tell_end,
            error_callback=self.on_failure,
        )
        self._apply_result = ref(result)
        return result

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        self._began = time_accepted
        super().on_accepted(pid, time_accepted)

    def _tell_end(self, told: Told) -> None:
        state.task_ready(self)
        if told.event is not None:
            self.send_event(told.event, runtime=monotonic() - self._began, **told.fields)
