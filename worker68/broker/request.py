"""A job as Celery's worker knows it: one of its reserved and active requests, with its events, from the hand-over to its end.

In: a message of ``Delivery``, and what runs a job by its number. Out: the job on its way, on the loop; Celery's events.
What Celery does for anybody's task is left out: decoding a body, a log line at either end, tracing, time limits, results, revokes.
Never: a change of Celery's lists of requests on another thread than Celery's, which iterates over them without a lock.

Stands on Celery 5.7, whose ``Request`` it extends; ``tests/unit/broker`` asserts what is used of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog
from celery.signals import heartbeat_sent
from celery.worker import state, strategy
from celery.worker.request import Request

from worker68.broker.pool import tell
from worker68.clock import monotonic

log = structlog.get_logger(__name__)

#: The header that holds the number of a job.
SEQ: Final = "worker68-seq"


@dataclass(frozen=True, slots=True)
class Told:
    """How a run ended, as Celery's events tell it. ``event`` is None where there is nothing to tell."""

    event: str | None
    fields: dict[str, Any]


#: Runs a job by its number, for a task and its Celery id.
Run = Callable[[int, str], Coroutine[Any, Any, Told]]
#: Lets a coroutine begin on the loop.
Begin = Callable[[Coroutine[Any, Any, None]], None]

#: Requests that ended on the loop and are still in Celery's lists.
_ended: deque[JobRequest] = deque()


@heartbeat_sent.connect(weak=False)
def settle_ended(**_: Any) -> None:
    """Take ended requests out of Celery's lists. On Celery's thread: before each request, and before a heartbeat counts them."""
    while _ended:
        state.task_ready(_ended.popleft())


def strategy_of(run: Run, begin: Begin) -> Callable[[Any, Any, Any], Callable[..., Any]]:
    """Return a ``Task.Strategy`` that lets ``run`` run what is delivered; any other message of the task is Celery's business."""

    def start(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
        stock = strategy.default(task, app, consumer)

        def take(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
            if SEQ not in message.headers:
                return stock(message, body, ack, reject, callbacks)
            settle_ended()
            request = JobRequest(task, app, consumer, message, run, begin)
            request.tell_received()
            state.task_reserved(request)
            for callback in callbacks or ():
                callback(request)
            consumer.on_task_request(request)
            return None

        return take

    return start


class JobRequest(Request):
    """One run of a job. The loop acknowledges it, which only forgets it: what must survive lies in the database."""

    def __init__(self, task: Any, app: Any, consumer: Any, message: Any, run: Run, begin: Begin) -> None:
        self._run = run
        self._begin = begin
        self._seq = int(message.headers[SEQ])
        super().__init__(
            message,
            # Not on Celery's thread: there is no connection to wait for, so Celery's loop need not be woken.
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

    def execute_using_pool(self, pool: Any, **_: Any) -> None:
        """Let the job go its way; the pool lends no thread, but does not stop before its end. Called by Celery's worker."""
        state.task_accepted(self)
        pool.hold()
        self._begin(self._go(pool))

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Do nothing: a cold shutdown asks for this, and then the job ends with the bridge and records what it knows."""

    async def _go(self, pool: Any) -> None:
        began = monotonic()
        try:
            tell(self._tell_begin, task_id=self.id)
            told = await self._run(self._seq, self.id)
        except asyncio.CancelledError:
            raise  # the process ends
        except BaseException as error:  # noqa: BLE001 - nobody else would hear of it
            log.error("task_left_by_exception", exception=type(error).__name__)
            failure = Told("task-failed", {"exception": f"{type(error).__name__}()", "traceback": ""})
            tell(self._tell_end, failure, began, task_id=self.id)
        else:
            tell(self._tell_end, told, began, task_id=self.id)
        finally:
            _ended.append(self)
            pool.release()

    def _tell_begin(self) -> None:
        self.acknowledge()
        self.send_event("task-started")

    def _tell_end(self, told: Told, began: float) -> None:
        if told.event is not None:
            self.send_event(told.event, runtime=monotonic() - began, **told.fields)
