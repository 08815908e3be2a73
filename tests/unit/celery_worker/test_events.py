"""What happens to jobs in the words of Celery's events, as Flower shows them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parts.jobs import job
from worker68.celery_worker import events
from worker68.celery_worker.events import JobEvents, end_event
from worker68.execution.slots import StepDone
from worker68.jobs.evidence import BridgeError, Evidence, give_up, judge_request, judge_send, judge_unknown_call
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, expired, succeeded
from worker68.observe.runs import Began, Cancelled, Deferred, Ended, Feed, Happening

SECRET = "meet me at nine"
JOB = job(1, task_id="a")


class Dispatcher:
    """Celery's event dispatcher, as far as events are sent by it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.fields: list[dict[str, Any]] = []
        self.flushed = 0

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append((kind, fields["uuid"]))
        self.fields.append(fields)

    def flush(self) -> None:
        self.flushed = len(self.sent)


class Flower:
    """A feed that is wanted, and what is published of it."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.feed.is_wanted = lambda: True
        self.events = JobEvents(self.feed)

    def hears(self, *happenings: Happening) -> list[tuple[str, str]]:
        dispatcher = Dispatcher()
        self.feed.note(*happenings)
        self.events.publish(dispatcher)
        assert dispatcher.flushed == len(dispatcher.sent)
        return dispatcher.sent


def test_a_job_that_runs_at_once() -> None:
    assert Flower().hears(Began(JOB), Ended(JOB, succeeded({}), 0.1)) == [
        ("task-received", "a"),
        ("task-started", "a"),
        ("task-succeeded", "a"),
    ]


def test_a_job_that_waits_is_resumed_once() -> None:
    flower = Flower()
    assert flower.hears(Deferred(JOB)) == [("task-deferred", "a")]
    assert [kind for kind, _ in flower.hears(Began(JOB))] == ["task-resumed", "task-received", "task-started"]
    assert [kind for kind, _ in flower.hears(Began(JOB))] == ["task-received", "task-started"]


def test_a_job_that_is_cancelled_while_it_waits_is_not_resumed() -> None:
    flower = Flower()
    assert flower.hears(Deferred(JOB), Cancelled("a")) == [("task-deferred", "a"), ("task-cancelled", "a")]
    assert flower.hears(Began(JOB))[0] == ("task-received", "a")


def test_of_a_burst_only_some_are_told_of_in_one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_A_SECOND", 2)
    flower = Flower()
    flower.feed._kept.extend((7.5, Deferred(job(1, task_id=str(number)))) for number in range(4))
    flower.feed._kept.append((8.5, Deferred(job(1, task_id="next second"))))
    assert flower.hears() == [("task-deferred", id) for id in ("0", "1", "next second")]


def test_no_more_than_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 1)
    flower = Flower()
    flower.hears(Deferred(JOB), Deferred(job(1, task_id="b")))
    assert flower.hears(Began(JOB))[0] == ("task-received", "a")


def test_an_event_bears_the_time_of_what_it_tells() -> None:
    flower, dispatcher = Flower(), Dispatcher()
    flower.feed._kept.append((7.5, Began(JOB)))
    flower.events.publish(dispatcher)
    assert dispatcher.fields[-1]["timestamp"] == 7.5


@pytest.mark.parametrize(
    ("conclusion", "kind"),
    [
        (None, None),
        (StepDone(), None),
        (TryAgain(ErrorCode.BUSY, "the service is busy", spent=True), "task-retried"),
        (succeeded({}), "task-succeeded"),
        (expired("its time was over"), "task-failed"),
    ],
)
def test_what_is_told_follows_what_the_run_came_to(conclusion: Any, kind: str | None) -> None:
    event = end_event("a", conclusion)
    assert (event[0] if event else None) == kind


def told(conclusion: Outcome | TryAgain) -> tuple[str, str]:
    event = end_event("id-1", conclusion)
    assert event is not None
    return event[0], repr(event[1])


@pytest.mark.parametrize("code", [403, 300, "300: " + SECRET, None])
def test_the_bridges_words_are_not_in_it(code: int | str | None) -> None:
    """They may repeat the message: "sensitive word: ..."."""
    seen = Evidence(written=True, replied=True, error=BridgeError(code, f"sensitive word: {SECRET}"))
    for finding in (judge_send(seen, 10_000_000_001, "verdict"), judge_request(seen), judge_unknown_call(seen)):
        last = give_up(finding, 5) if isinstance(finding, TryAgain) else finding
        assert last.error is not None
        assert SECRET in last.error.message, "its producer reads them"
        for conclusion in (finding, last):
            kind, fields = told(conclusion)
            assert kind in ("task-failed", "task-retried")
            assert SECRET not in fields
            assert ("busy" if code == 300 else "refused") in fields
            assert str(code) in fields or not isinstance(code, int)


def test_what_else_is_told() -> None:
    assert told(succeeded({"data": SECRET})) == ("task-succeeded", repr({"result": "{'status': 'succeeded'}"}))
    assert "expired" in told(expired(SECRET))[1]
    assert SECRET not in told(expired(SECRET))[1]


def test_the_text_of_a_message_is_in_no_event() -> None:
    flower, dispatcher = Flower(), Dispatcher()
    secret = job(1, kwargs={"chat": {"type": "group", "id": 389284}, "text": SECRET})
    flower.feed.note(Deferred(secret), Began(secret))
    flower.events.publish(dispatcher)
    assert SECRET not in repr(dispatcher.fields)
    assert "389284" in repr(dispatcher.fields), "its chat is shown"
