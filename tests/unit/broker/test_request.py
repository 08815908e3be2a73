"""A request goes its way on the loop: Celery hears how it fares, and the pool is held until its end, whatever that is."""

# mypy: disallow-untyped-calls=False
# because Celery's and kombu's functions are not typed.

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from celery import Celery, signals
from celery.backends.base import DisabledBackend
from celery.worker import state, strategy
from celery.worker.consumer import Consumer
from kombu.message import Message

from worker68.broker.pool import TaskPool
from worker68.broker.request import SEQ, JobRequest, Told, settle_ended, strategy_of
from worker68.loop import LoopThread

SECONDS = 10.0
TOLD = Told("task-succeeded", {"result": "{}"})


class Backend(DisabledBackend):  # type: ignore[misc]
    """Results leave through the outbox: a call of the backend would be a wait of the loop."""

    def _is_called(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the backend was called")

    store_result = get_state = _get_task_meta_for = on_chord_part_return = _is_called


class _Message(Message):
    """A message that is forgotten once it is acknowledged."""

    def ack_log_error(self, *_: Any) -> None: ...


class Dispatcher:
    """Celery's event dispatcher, as far as requests tell it anything."""

    enabled = True

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.fields: dict[str, Any] = {}  # of the last one
        self.deaf = False

    def send(self, kind: str, **fields: Any) -> None:
        if self.deaf:
            raise OSError
        self.heard.append(kind)
        self.fields = fields


class Worker:
    """What a request meets in a worker: Celery's consumer, the pool, the loop, and what runs a job."""

    hostname = "worker@host"
    connection_errors = ()

    def __init__(self) -> None:
        self.app = Celery("worker68", set_as_current=False, broker="memory://")
        self.app.conf.update(worker_send_task_events=True)
        self.task = self.app.task(nothing, name="worker68.send_message", ignore_result=True, shared=False)
        self.task.backend = Backend(app=self.app)
        self.event_dispatcher = Dispatcher()
        self.pool = TaskPool(1)
        self.jobs = LoopThread(1)
        self.run: Callable[[int, str], Any] = succeed
        self.stock: list[Message] = []  # what was left to Celery
        self.left: queue.SimpleQueue[str] = queue.SimpleQueue()  # the ids of jobs that let go of the pool

    def deliver(self, task_id: str, **own: Any) -> JobRequest | None:
        """Hand a message over, as Celery's consumer does; return the request that it became."""
        taken: list[JobRequest] = []
        self.on_task_request = taken.append
        headers = {"task": self.task.name, "id": task_id, "ignore_result": True, **(own or {SEQ: 7})}
        message = _Message(b"", headers=headers, channel=None, delivery_tag="7")
        take = strategy_of(lambda seq, id: self.run(seq, id), self.jobs.begin)(self.task, self.app, self)
        take(message, None, None, None, None)
        return taken[0] if taken else None

    def carry(self, task_id: str) -> JobRequest:
        """Let a job go its way to its end."""
        request = self.deliver(task_id)
        assert request is not None
        self.begin(request)
        assert self.left.get(timeout=SECONDS) == task_id
        return request

    def begin(self, request: JobRequest) -> None:
        request.execute_using_pool(_Held(self, request.id))


class _Held:
    """The pool, in the eyes of one request."""

    def __init__(self, worker: Worker, task_id: str) -> None:
        self.worker = worker
        self.task_id = task_id

    def hold(self) -> None:
        self.worker.pool.hold()

    def release(self) -> None:
        self.worker.pool.release()
        self.worker.left.put(self.task_id)


def nothing() -> None: ...


async def succeed(seq: int, task_id: str) -> Told:
    return TOLD


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    worker = Worker()
    monkeypatch.setattr(strategy, "default", lambda *_: lambda message, *_: worker.stock.append(message))
    worker.pool.start()
    worker.jobs.start()
    yield worker
    worker.jobs.stop()
    while worker.pool._held:  # a stop would wait for it for ever
        worker.pool.release()
    worker.pool.stop()
    state.reset_state()


def test_a_job_goes_its_way_on_the_job_loop_and_is_active_meanwhile(worker: Worker) -> None:
    seen: list[tuple[int, str, set[Any], int]] = []

    async def run(seq: int, task_id: str) -> Told:
        seen.append((seq, task_id, set(state.active_requests), worker.pool._held))
        return TOLD

    worker.run = run
    request = worker.carry("a")
    assert seen == [(7, "a", {request}, 1)]
    assert worker.event_dispatcher.heard == ["task-received", "task-started", "task-succeeded"]
    assert_settled(worker)
    assert worker.pool.info["threads"] == 0, "no thread of the pool carries it"


def test_where_there_is_nothing_to_tell_the_request_ends_all_the_same(worker: Worker) -> None:
    async def run(seq: int, task_id: str) -> Told:
        return Told(None, {})

    worker.run = run
    worker.carry("a")
    assert worker.event_dispatcher.heard == ["task-received", "task-started"]
    assert_settled(worker)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError(), MemoryError(), StopIteration()]
)
def test_whatever_is_raised_the_request_is_settled_and_the_loop_goes_on(worker: Worker, error: BaseException) -> None:
    async def run(seq: int, task_id: str) -> Told:
        await asyncio.sleep(0)
        raise error

    worker.run = run
    worker.carry("a")
    assert_settled(worker)
    worker.run = succeed
    worker.carry("b")
    assert worker.event_dispatcher.heard[-1] == "task-succeeded"


def test_a_fault_is_told_as_a_failure(worker: Worker) -> None:
    async def run(seq: int, task_id: str) -> Told:
        raise ValueError("secret")

    worker.run = run
    worker.carry("a")
    assert worker.event_dispatcher.heard == ["task-received", "task-started", "task-failed"]
    assert "secret" not in repr(worker.event_dispatcher.fields)


def test_what_celery_cannot_be_told_changes_nothing_for_the_job(worker: Worker) -> None:
    ran = []

    async def run(seq: int, task_id: str) -> Told:
        ran.append(seq)
        return TOLD

    worker.run = run
    request = worker.deliver("a")
    assert request is not None
    worker.event_dispatcher.deaf = True
    worker.begin(request)
    assert worker.left.get(timeout=SECONDS) == "a"
    assert ran == [7]
    assert_settled(worker)


def test_what_is_broken_off_with_the_process_tells_nothing_and_holds_nothing(worker: Worker) -> None:
    began: queue.SimpleQueue[None] = queue.SimpleQueue()

    async def run(seq: int, task_id: str) -> Told:
        began.put(None)
        await asyncio.sleep(3600)
        return TOLD

    worker.run = run
    request = worker.deliver("a")
    assert request is not None
    worker.begin(request)
    began.get(timeout=SECONDS)
    worker.jobs.stop()
    assert worker.left.get(timeout=SECONDS) == "a"
    assert worker.event_dispatcher.heard == ["task-received", "task-started"]
    assert worker.pool._held == 0


def test_what_celery_has_heard_to_be_revoked_is_no_business_of_a_job(worker: Worker) -> None:
    """Its revoked ids come from other workers, at their start; a job is cancelled in the database."""
    state.revoked.add("a")
    worker.carry("a")
    assert worker.event_dispatcher.heard == ["task-received", "task-started", "task-succeeded"]


def test_celerys_lists_are_changed_on_celerys_thread_alone(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery iterates over them there, without a lock: for a cold shutdown, a lost connection, a question."""
    changed_on: set[threading.Thread] = set()
    for change in ("task_reserved", "task_accepted", "task_ready"):
        monkeypatch.setattr(state, change, noting(getattr(state, change), changed_on))

    worker.carry("a")
    worker.carry("b")

    assert changed_on == {threading.current_thread()}


def test_a_heartbeat_counts_the_jobs_that_are_under_way(worker: Worker) -> None:
    worker.carry("a")
    signals.heartbeat_sent.send(sender=None)
    assert not state.active_requests
    assert state.all_total_count == [1]


def test_a_cold_shutdown_cancels_no_job(worker: Worker) -> None:
    go_on, began = asyncio.Event(), threading.Event()

    async def run(seq: int, task_id: str) -> Told:
        began.set()
        await go_on.wait()
        return TOLD

    worker.run = run
    request = worker.deliver("a")
    assert request is not None
    worker.begin(request)
    assert began.wait(SECONDS)

    Consumer.cancel_active_requests(worker)

    assert worker.event_dispatcher.heard == ["task-received", "task-started"]
    worker.jobs.loop.call_soon_threadsafe(go_on.set)
    assert worker.left.get(timeout=SECONDS) == "a"
    assert worker.event_dispatcher.heard[-1] == "task-succeeded"


def test_what_bears_no_number_of_a_job_is_left_to_celery(worker: Worker) -> None:
    assert worker.deliver("a", lang="py") is None
    assert [message.headers["id"] for message in worker.stock] == ["a"]
    assert worker.event_dispatcher.heard == []


def noting(change: Callable[..., None], threads: set[threading.Thread]) -> Callable[..., None]:
    def note(*args: Any) -> None:
        threads.add(threading.current_thread())
        change(*args)

    return note


def assert_settled(worker: Worker) -> None:
    settle_ended()
    assert not state.active_requests
    assert not state.reserved_requests
    assert worker.pool._held == 0
