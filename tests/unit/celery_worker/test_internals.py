"""What is used of Celery beyond its documented interface is there, as it is used."""

# mypy: disallow-untyped-calls=False
# because Celery's functions are not typed.

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import celery
import kombu
import pytest
from celery import Celery, bootsteps, signals
from celery.events import EventDispatcher
from celery.result import allow_join_result
from celery.utils.dispatch import Signal
from celery.worker import heartbeat, state
from celery.worker.consumer import Consumer
from celery.worker.control import Panel
from kombu.entity import Exchange, Queue

from tests.parts.jobs import SEND, job
from tests.parts.lines import before_line
from worker68 import celery_tasks
from worker68.celery_worker import internals
from worker68.celery_worker.internals import ShownRequests
from worker68.celery_worker.steps import RuntimeStep
from worker68.clock import monotonic
from worker68.execution.slots import Ready, Slot, ask_of
from worker68.observe.runs import Run, Runs


@pytest.fixture
def app() -> Celery:
    return Celery("worker68", set_as_current=False, broker="memory://")


@pytest.mark.parametrize("library", [celery, kombu])
def test_the_minor_versions_are_those_that_were_read(library: Any) -> None:
    assert library.__version__.startswith("5.7.")


def test_the_command_of_a_worker_takes_its_application_and_options(app: Celery, capsys: Any) -> None:
    with pytest.raises(SystemExit) as left:
        internals.run_worker_command(app, ["--help"])
    assert left.value.code == 0
    assert "worker68 worker" in capsys.readouterr().out


def test_a_command_of_celery_is_found_by_its_words(capsys: Any) -> None:
    with pytest.raises(SystemExit) as left:
        internals.run_celery_command(["report", "--help"])
    assert left.value.code == 0
    assert "worker68 report" in capsys.readouterr().out


def test_flowers_command_waits_for_neither_the_database_nor_all_commands() -> None:
    code = "import sys, worker68.celery_worker.internals; print([*{'sqlalchemy', 'flower'} & {*sys.modules}])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


class Looked(Exception):
    """A worker is as far as our step; there is no need of the others."""


@pytest.mark.parametrize(
    ("options", "has_threads", "is_autoscaled"),
    [
        ({"pool": "threads"}, True, False),
        ({"pool": "prefork"}, False, False),
        ({"pool": "solo"}, False, False),
        ({"pool": "threads", "autoscale": "4,2"}, True, True),
    ],
)
def test_the_options_of_a_worker_are_seen_in_our_step(
    app: Celery, options: dict[str, str], has_threads: bool, is_autoscaled: bool
) -> None:
    seen: list[tuple[bool, bool]] = []

    class Look(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = RuntimeStep.requires

        def create(self, worker: Any) -> None:
            seen.append((internals.has_thread_pool(worker), internals.is_autoscaled(worker)))
            raise Looked

    app.steps["worker"].add(Look)
    # A worker forbids its whole process to wait for results: this gives that back at its end.
    with allow_join_result(), pytest.raises(Looked):
        app.WorkController(**options)
    assert seen == [(has_threads, is_autoscaled)]


def test_the_neighbours_are_left_out_by_an_option(app: Celery) -> None:
    worker = SimpleNamespace(options={"hostname": "a"})
    internals.leave_out_neighbours(worker)
    assert worker.options == {"hostname": "a", "without_mingle": True, "without_gossip": True}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("function", [Signal.send, Signal._live_receivers])
def test_a_shutdown_may_come_at_any_line_of_the_one_before(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second SIGTERM runs Celery's handler within the first: with the lock of the signal it would wait for ever."""
    signal = Signal(name="worker_shutting_down")
    monkeypatch.setattr(signals, "worker_shutting_down", signal)
    heard: list[str] = []

    def hear(how: str, **_: Any) -> None:
        heard.append(how)

    def send(how: str) -> None:
        signals.worker_shutting_down.send(sender="main", how=how)

    internals.let_shutdowns_interrupt_each_other()
    signal.connect(hear)
    lines = 0
    while True:
        with before_line(function, lines, lambda: send("second")) as at:
            send("first")
        if not at:
            break
        assert sorted(heard) == ["first", "second"]
        heard.clear()
        lines += 1
    assert lines > 5


def test_answers_are_as_flower_and_inspect_read_them() -> None:
    assert (internals.ok("done"), internals.nok("refused")) == ({"ok": "done"}, {"error": "refused"})


def test_celery_consumes_nothing_afterwards(app: Celery) -> None:
    app.conf.task_queues = [Queue(name, Exchange(name), routing_key=name) for name in ("worker68", "worker68.main")]
    assert internals.selected_queues(app) == {"worker68", "worker68.main"}

    internals.consume_nothing(app)

    assert internals.selected_queues(app) == set()
    assert set(app.amqp.queues) == {"worker68", "worker68.main"}, "they are still known"
    with app.connection() as connection:
        assert app.amqp.TaskConsumer(connection).queues == []


def test_the_names_of_the_steps_and_of_the_options_that_leave_them_out() -> None:
    steps = set(Consumer.Blueprint.default_steps)
    assert {"celery.worker.consumer.events:Events", "celery.worker.consumer.mingle:Mingle"} <= steps
    for name in ("mingle", "gossip"):
        step = getattr(__import__(f"celery.worker.consumer.{name}", fromlist=[name]), name.title())
        assert f"without_{name}" in inspect.signature(step.__init__).parameters


class TestShownRequests:
    @pytest.fixture
    def runs(self) -> Iterator[Runs]:
        state.reset_state()
        yield Runs()
        state.reset_state()

    @pytest.fixture
    def shown(self, runs: Runs, app: Celery) -> ShownRequests:
        celery_tasks.register(app)
        return ShownRequests(runs, app.tasks)

    def begin(self, runs: Runs, seq: int) -> Run:
        begun = job(seq)
        return runs.begin(Ready(begun, Slot(ask_of(begun), monotonic(), monotonic())))

    def test_what_is_under_way_is_active_and_counted(self, runs: Runs, shown: ShownRequests) -> None:
        first, _ = self.begin(runs, 1), self.begin(runs, 2)
        shown.refresh()
        gc.collect()
        assert {request.name for request in state.active_requests} == {SEND}
        assert (len(state.active_requests), state.all_total_count, dict(state.total_count)) == (2, [2], {SEND: 2})

        runs.end(first, None)
        self.begin(runs, 3)
        shown.refresh()
        gc.collect()
        assert (len(state.active_requests), state.all_total_count, dict(state.total_count)) == (2, [3], {SEND: 3})

    def test_celery_may_do_with_them_what_it_does_with_requests(self, runs: Runs, shown: ShownRequests) -> None:
        """At a cold shutdown, when the connection is lost, and when there is a new one."""
        self.begin(runs, 1)
        shown.refresh()
        consumer = type("Stand", (), {"pool": None})()

        Consumer.cancel_active_requests(consumer)
        for request in state.active_requests:
            assert request.id
            request.eventer = None
        assert len(state.active_requests) == 1

    def test_heartbeats_read_these_lists(self) -> None:
        assert heartbeat.active_requests is state.active_requests
        assert heartbeat.all_total_count is state.all_total_count


def test_a_command_is_replaced_and_keeps_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Panel, "data", Panel.data.copy())
    monkeypatch.setattr(Panel, "meta", Panel.meta.copy())
    stock = Panel.meta["rate_limit"]

    internals.replace_command("rate_limit", lambda state, **_: "refused")

    assert Panel.data["rate_limit"](None) == "refused"
    assert Panel.meta["rate_limit"] == stock


def test_revoked_ids_are_those_that_celery_answers_with() -> None:
    state.revoked.clear()
    internals.note_revoked(["a", "b"])
    assert sorted(internals.revoked_ids()) == sorted(state.revoked) == ["a", "b"]
    state.revoked.clear()


class TestDispatcher:
    @pytest.fixture
    def dispatcher(self, app: Celery) -> EventDispatcher:
        return EventDispatcher(app=app, enabled=False, buffer_group=["task"], groups=["worker"])

    def consumer(self, dispatcher: Any) -> Any:
        return type("Stand", (), {"event_dispatcher": dispatcher})()

    def command(self, dispatcher: Any, name: str) -> Any:
        return Panel.data[name](type("Stand", (), {"consumer": self.consumer(dispatcher)})())

    def test_celerys_switch_is_obeyed(self, dispatcher: EventDispatcher) -> None:
        internals.prepare_dispatcher(dispatcher)
        dispatcher.enabled = True
        assert not internals.sends_task_events(self.consumer(dispatcher))
        assert self.command(dispatcher, "enable_events") == {"ok": "task events enabled"}
        assert internals.sends_task_events(self.consumer(dispatcher))
        assert self.command(dispatcher, "disable_events") == {"ok": "task events disabled"}
        assert not internals.sends_task_events(self.consumer(dispatcher))
        assert not internals.sends_task_events(self.consumer(None))

    def test_they_can_be_disabled_where_the_option_has_enabled_them(self, app: Celery) -> None:
        dispatcher = EventDispatcher(app=app, enabled=False, buffer_group=["task"], groups=None)
        internals.prepare_dispatcher(dispatcher)
        dispatcher.enabled = True
        assert internals.sends_task_events(self.consumer(dispatcher))
        assert self.command(dispatcher, "disable_events") == {"ok": "task events disabled"}
        assert not internals.sends_task_events(self.consumer(dispatcher))

    def test_a_burst_is_sent_in_few_messages(self, dispatcher: EventDispatcher) -> None:
        sent: list[int] = []
        internals.prepare_dispatcher(dispatcher)
        dispatcher.groups.add("task")
        dispatcher.enabled = True
        dispatcher.producer = type("Stand", (), {"publish": lambda _, events, **__: sent.append(len(events))})()
        for _ in range(2 * internals.EVENTS_IN_MESSAGE + 1):
            dispatcher.send("task-started", uuid="a", timestamp=1.0)
        dispatcher.flush()
        assert sent == [internals.EVENTS_IN_MESSAGE, internals.EVENTS_IN_MESSAGE, 1]
