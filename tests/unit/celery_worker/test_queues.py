"""Queues as Celery lists them: each with a binding of its own, and those alone that the worker takes from now."""

from __future__ import annotations

from types import SimpleNamespace

from celery.worker.control import Panel

from worker68.celery_worker import control  # noqa: F401 - registers the commands
from worker68.celery_worker.queues import bind


def test_a_queue_is_bound_to_its_own_exchange_alone() -> None:
    queue = bind("worker68.main")
    assert (queue.name, queue.exchange.name, queue.routing_key) == ("worker68.main",) * 3
    assert (queue.exchange.type, queue.bindings) == ("direct", set())


def test_what_is_taken_from_now_is_listed() -> None:
    taken = ["worker68", "worker68.main"]
    state = SimpleNamespace(app=SimpleNamespace(worker68_runtime=SimpleNamespace(queues=lambda: list(taken))))
    assert [queue["name"] for queue in Panel.data["active_queues"](state)] == taken

    taken[:] = ["worker68.added"]

    (queue,) = Panel.data["active_queues"](state)
    assert (queue["name"], queue["exchange"]["name"], queue["routing_key"]) == ("worker68.added",) * 3
