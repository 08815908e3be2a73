"""What is used of Celery beyond its documented interface, all of it.

Stands on Celery 5.7: ``tests/unit/celery_worker/test_internals.py`` asserts that each part is there as it is used. Look at each of
them before the pin in pyproject.toml is raised. Only Celery's own thread may call this, save ``sends_task_events``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from celery import signals
from celery.bin.base import CLIContext
from celery.bin.worker import worker as worker_command
from celery.concurrency import thread
from celery.worker import state
from celery.worker.control import Panel, control_command
from celery.worker.control import nok as nok  # for control.py
from celery.worker.control import ok as ok

if TYPE_CHECKING:  # for Flower's command, which would wait for SQLAlchemy
    from worker68.observe.runs import Run, Runs

#: So many events in one message at most.
EVENTS_IN_MESSAGE: Final = 200


def run_worker_command(app: Any, options: Sequence[str]) -> Any:
    """Run ``celery worker`` for the application; return what it exits with."""
    context = CLIContext(app, no_color=bool(os.environ.get("NO_COLOR")), workdir=None)
    # The prefix is that of the variables by which Celery's options may be given as well.
    return worker_command.main(options, prog_name="worker68 worker", obj=context, auto_envvar_prefix="CELERY_WORKER")


def run_celery_command(words: Sequence[str]) -> None:
    """Run one of the commands of ``celery`` by its words, Flower's among them; end the process as it does."""
    # Imported here because it imports all commands, with a shell and Flower: a worker needs none of them.
    from celery.bin.celery import celery

    celery.main(args=list(words), prog_name="worker68", auto_envvar_prefix="CELERY")


def has_thread_pool(worker: Any) -> bool:
    """Whether its pool neither forks this process, whose threads would be lost, nor replaces its sockets by those of a greenlet."""
    return issubclass(worker.pool_cls, thread.TaskPool)


def is_autoscaled(worker: Any) -> bool:
    """Whether the option ``--autoscale`` was given."""
    return bool(worker.autoscale)


def leave_out_neighbours(worker: Any) -> None:
    """Start no mingle, which waits a second for the neighbours' lists of revoked tasks, and no gossip, which only elects.

    Revoked jobs lie in SQL here.
    """
    worker.options |= {"without_mingle": True, "without_gossip": True}


def let_shutdowns_interrupt_each_other() -> None:
    """Let a second SIGTERM come while Celery handles the first.

    Its handlers send ``worker_shutting_down``, which takes a lock that is not reentrant: the second handler would run inside the
    first, and wait for that lock for ever. Only Celery's own thread uses the signal, so it needs no lock.
    """
    signals.worker_shutting_down.lock = nullcontext()


def selected_queues(app: Any) -> set[str]:
    """Return the queues that Celery's options have selected."""
    return set(app.amqp.queues.consume_from)


def consume_nothing(app: Any) -> None:
    """Let Celery take no message from any queue: it would pop jobs from Redis and could lose them."""
    app.amqp.queues.deselect(list(app.amqp.queues.consume_from))


class ShownRequest:
    """A job under way, as Celery's lists hold its requests. It ends by itself: Celery can neither cancel nor acknowledge it."""

    acknowledged = True

    def __init__(self, run: Run, tasks: Mapping[str, Any]) -> None:
        job = run.ready.job
        self.id = job.task_id
        self.name = job.task
        self.task = tasks[job.task]
        self.eventer: Any = None  # set by Celery whenever it connects anew

    def cancel(self, *_: Any, **__: Any) -> None:
        """Do nothing: a cold shutdown asks for this, and then the job ends with the bridge and records what it knows."""


class ShownRequests:
    """Celery's lists and counts of requests, which its heartbeats and ``inspect stats`` read.

    They are sets of weak references that Celery iterates over without a lock. So this holds what they refer to, and changes them
    and lets go of it on Celery's thread alone.
    """

    def __init__(self, runs: Runs, tasks: Mapping[str, Any]) -> None:
        self._runs = runs
        self._tasks = tasks
        self._shown: dict[int, ShownRequest] = {}

    def refresh(self) -> None:
        """Show what is under way now, and how many jobs have begun."""
        under_way, begun = dict(self._runs.under_way), dict(self._runs.begun)
        for seq in self._shown.keys() - under_way.keys():
            state.active_requests.discard(self._shown.pop(seq))
        for seq in under_way.keys() - self._shown.keys():
            self._shown[seq] = ShownRequest(under_way[seq], self._tasks)
            state.active_requests.add(self._shown[seq])
        state.total_count.clear()
        state.total_count.update(begun)
        state.all_total_count[0] = sum(begun.values())


def replace_command(name: str, answer: Callable[..., Any]) -> None:
    """Let a command of remote control be answered by this; its arguments on the command line stay as they are."""
    stock = Panel.meta[name]
    control_command(name=name, args=stock.args, signature=stock.signature, variadic=stock.variadic, help=stock.help)(
        answer
    )


def note_revoked(task_ids: list[str]) -> None:
    """Remember ids for ``inspect revoked``."""
    state.revoked.update(task_ids)


def revoked_ids() -> list[str]:
    return list(state.revoked)


def prepare_dispatcher(dispatcher: Any) -> None:
    """Let a dispatcher gather more events than it does by itself, and name its groups where it sends all of them.

    Celery's ``disable_events`` takes the group ``task`` out; with ``-E`` there are no groups, which means all.
    """
    dispatcher.buffer_limit = EVENTS_IN_MESSAGE
    if not dispatcher.groups:
        dispatcher.groups |= {"task", "worker"}


def sends_task_events(consumer: Any) -> bool:
    """Whether Celery's switch for the events of tasks is on, and its consumer connected. On any thread."""
    dispatcher = consumer.event_dispatcher
    return dispatcher is not None and dispatcher.enabled and "task" in dispatcher.groups
