"""A command of remote control says what it has done, in words and counts, or refuses and names what to use in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state as celery_state
from celery.worker.control import Panel
from structlog.testing import capture_logs

from worker68.celery_worker.control import REFUSED
from worker68.errors import DatabaseAway
from worker68.store.inspection import MOST
from worker68.store.waiting import Cancelled


def run(command: str, parts: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """Run a command as Celery does, in a worker of these parts; return its answer."""
    app = SimpleNamespace(**{f"worker68_{name}": part for name, part in (parts or {}).items()})
    return Panel.data[command](SimpleNamespace(hostname="w@host", app=app), **arguments)


class TestRevoke:
    class Revocation:
        """Cancels as the test says, and keeps which ids it was asked for."""

        def __init__(self) -> None:
            self.asked: list[Sequence[str]] = []
            self.done: Cancelled | None = Cancelled([], [], [], [])

        def revoke(self, task_ids: Sequence[str]) -> Cancelled | None:
            self.asked.append(task_ids)
            return self.done

        def command(self, **arguments: Any) -> Any:
            return run("revoke", {"revocation": self}, **arguments)

    @pytest.fixture
    def revocation(self) -> Iterator[Revocation]:
        celery_state.revoked.clear()
        yield self.Revocation()
        celery_state.revoked.clear()

    def test_it_says_how_many_jobs_came_to_what(self, revocation: Revocation) -> None:
        revocation.done = Cancelled(ended=[1, 2], before=[3], too_late=[4], unseen=["e"])
        assert revocation.command(task_id=["a", "b", "c", "d", "e"]) == {
            "ok": "a, b, c and 2 more: 2 cancelled, 1 cancelled before, 1 too late: under way, or ended, "
            "1 not seen yet, cancelled if it comes within 30 days"
        }
        assert revocation.asked == [["a", "b", "c", "d", "e"]]

    def test_it_says_nothing_of_what_there_was_none(self, revocation: Revocation) -> None:
        revocation.done = Cancelled(ended=[1], before=[], too_late=[], unseen=[])
        assert revocation.command(task_id=("a", "b", "c")) == {"ok": "a, b, c: 1 cancelled"}

    def test_what_is_too_late_is_an_error_only_where_it_was_to_be_killed(self, revocation: Revocation) -> None:
        revocation.done = Cancelled(ended=[1], before=[], too_late=[2], unseen=[])
        words = "a, b: 1 cancelled, 1 too late: under way, or ended"
        assert revocation.command(task_id=["a", "b"]) == {"ok": words}
        answer = revocation.command(task_id=["a", "b"], terminate=True, signal="SIGKILL")
        assert set(answer) == {"error"}
        assert answer["error"].startswith(f"{words}; what is under way cannot be killed")
        assert "`worker68 jobs cancel ID`" in answer["error"]

    def test_a_kill_of_what_waits_is_a_cancellation(self, revocation: Revocation) -> None:
        revocation.done = Cancelled(ended=[1], before=[], too_late=[], unseen=[])
        assert revocation.command(task_id="a", terminate=True) == {"ok": "a: 1 cancelled"}

    def test_a_slow_database_is_an_error_and_the_ids_are_remembered(self, revocation: Revocation) -> None:
        revocation.done = None
        answer = revocation.command(task_id=["a", "b"])
        assert set(answer) == {"error"}
        assert answer["error"].startswith("a, b: not cancelled yet")
        assert set(celery_state.revoked) == {"a", "b"}

    @pytest.mark.parametrize("nothing", [None, [], ()])
    def test_without_an_id_nothing_is_asked(self, revocation: Revocation, nothing: Any) -> None:
        assert revocation.command(task_id=nothing) == {"error": "no id was given"}
        assert revocation.asked == []

    def test_ids_of_any_kind_are_as_the_tables_have_them(self, revocation: Revocation) -> None:
        revocation.command(task_id=[7, None, "a\x00", {"b": 1}])
        assert revocation.asked == [["7", "None", "a\N{REPLACEMENT CHARACTER}", "{'b': 1}"]]


class TestQueryTask:
    class Inspection:
        """Keeps who asked for which ids."""

        def __init__(self) -> None:
            self.asked: list[tuple[str, Sequence[str]]] = []

        def query(self, hostname: str, task_ids: Sequence[str]) -> dict[str, Any]:
            self.asked.append((hostname, task_ids))
            return {"found": "it"}

    def test_one_id_or_many_are_asked_for_as_the_tables_have_them(self) -> None:
        inspection = self.Inspection()
        assert run("query_task", {"inspection": inspection}, ids="a") == {"found": "it"}
        run("query_task", {"inspection": inspection}, ids=[1, "b\x00"])
        assert inspection.asked == [("w@host", ["a"]), ("w@host", ["1", "b\N{REPLACEMENT CHARACTER}"])]

    def test_too_many_are_refused_without_a_question(self) -> None:
        inspection = self.Inspection()
        run("query_task", {"inspection": inspection}, ids=["x"] * MOST)
        answer = run("query_task", {"inspection": inspection}, ids=["x"] * (MOST + 1))
        assert set(answer) == {"error"}
        assert f"{MOST + 1} ids" in answer["error"]
        assert len(inspection.asked) == 1


def test_the_queues_are_those_of_the_moment_each_with_its_own_binding() -> None:
    queues = run("active_queues", {"runtime": SimpleNamespace(queues=lambda: ["worker68", "worker68.main"])})
    bound = [(queue["name"], queue["exchange"]["name"], queue["routing_key"]) for queue in queues]
    assert bound == [(name, name, name) for name in ("worker68", "worker68.main")]


@pytest.mark.parametrize(
    "question", ["active", "scheduled", "reserved", "dump_active", "dump_schedule", "dump_reserved"]
)
def test_a_question_is_answered_under_the_name_of_this_worker(question: str) -> None:
    answers = {
        name: lambda hostname, name=name: [f"{name} in {hostname}"] for name in ("active", "scheduled", "reserved")
    }
    meant = {"dump_schedule": "scheduled"}.get(question, question.removeprefix("dump_"))
    assert run(question, {"inspection": SimpleNamespace(**answers)}) == [f"{meant} in w@host"]


@pytest.mark.parametrize("question", ["scheduled", "reserved", "revoked", "query_task"])
def test_without_an_answer_the_command_says_so(question: str) -> None:
    def away(*_: Any) -> None:
        raise DatabaseAway("the server is gone")

    answers = SimpleNamespace(scheduled=away, reserved=away, revoked=away, query=away)
    arguments = {"ids": ["a"]} if question == "query_task" else {}

    answer = run(question, {"inspection": answers}, **arguments)

    assert set(answer) == {"error"}
    assert "the server is gone" in answer["error"]
    assert "worker68 check" in answer["error"]


@pytest.mark.parametrize("command", REFUSED)
def test_what_would_do_nothing_here_is_refused_whatever_its_arguments_are(command: str) -> None:
    with capture_logs() as logs:
        answer = run(command, queue="worker68.main", n=1, task_id="x", anything=None)
    assert set(answer) == {"error"}
    assert answer["error"].startswith(f"{command} is refused: ")
    (line,) = logs
    assert (line["event"], line["command"]) == ("control_command_refused", command)
    assert answer["error"].endswith(line["remedy"])
