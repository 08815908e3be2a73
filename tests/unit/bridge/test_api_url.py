"""The API's address is asked for until the bridge says it, soon where a question was refused; a connection's end forgets it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.parts.clock import Clock
from tests.unit.bridge.conftest import MakeTalk, Talk
from worker68.bridge.api_url import REFUSED_RETRY_SECONDS, ApiUrl

RETRY = 5.0
URL = "https://api.example"


class Question:
    """Asks, and answers what was asked."""

    def __init__(self, talk: Talk, clock: Clock) -> None:
        self.talk = talk
        self.api = ApiUrl(talk.exchange, RETRY)
        self._clock = clock

    def ask(self) -> list[str]:
        """Ask, and return the ids of the questions that were written."""
        self.api.ask(self._clock.now)
        frames = self.talk.write()
        assert {frame["type"] for frame in frames} <= {"getApiUrl"}
        return [frame["id"] for frame in frames]

    def answer(self, request_id: str, **answer: Any) -> None:
        self.talk.hear({"id": request_id, "type": "getApiUrl"} | answer)

    @property
    def waits(self) -> float:
        """How long it is until it is to be asked (again)."""
        return self.api.ask_at - self._clock.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.bridge.api_url")
    return clock


@pytest.fixture
def question(talk: Talk, clock: Clock) -> Question:
    return Question(talk, clock)


def test_before_the_first_question_nothing_is_known_and_none_is_due(question: Question) -> None:
    assert (question.api.url, question.waits) == (None, math.inf)


@pytest.mark.parametrize("said", [URL, f"{URL}/", "http://10.0.0.7:80/base//"])
def test_what_the_bridge_says_is_the_url_without_a_slash_at_its_end(question: Question, said: str) -> None:
    (asked,) = question.ask()
    assert (question.api.url, question.waits) == (None, RETRY)
    question.answer(asked, data=said)
    assert (question.api.url, question.waits) == (said.rstrip("/"), math.inf)


@pytest.mark.parametrize(
    "answer",
    [
        {"data": 5},
        {"data": None},
        {"data": ""},
        {"data": "ftp://api.example"},
        {"data": {"url": URL}},
        {"data": URL, "error": {"errorCode": 1}},
        {},
    ],
)
def test_an_answer_without_a_url_leaves_it_to_the_next_question(question: Question, answer: dict[str, Any]) -> None:
    (asked,) = question.ask()
    question.answer(asked, **answer)
    assert (question.api.url, question.waits) == (None, RETRY)
    (again,) = question.ask()
    question.answer(again, data=URL)
    assert question.api.url == URL


def test_the_answer_to_an_earlier_question_counts_no_more(question: Question) -> None:
    (first,), (second,) = question.ask(), question.ask()
    question.answer(first, data="https://old.example")
    assert (question.api.url, question.waits) == (None, RETRY)
    question.answer(second, data=URL)
    assert question.api.url == URL
    assert question.talk.exchange.tally["late_replies"] == 1


def test_it_is_asked_for_without_a_login_of_the_client(question: Question) -> None:
    question.talk.not_ready = lambda call: "logged out" if call.needs_login else None
    assert len(question.ask()) == 1


def test_a_question_that_was_refused_is_asked_again_soon_and_then_less_often(make_talk: MakeTalk, clock: Clock) -> None:
    refusals = ["nothing is known yet"]
    question = Question(make_talk(guard=lambda: refusals[0] if refusals else None), clock)
    waits = []
    for _ in range(12):
        assert question.ask() == []
        waits.append(question.waits)
    assert waits[0] == pytest.approx(REFUSED_RETRY_SECONDS)
    assert waits[1] == pytest.approx(2 * waits[0])
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(RETRY), "never less often than what is not answered"

    refusals.clear()
    (asked,) = question.ask()
    assert question.waits == RETRY
    question.answer(asked, data=5)
    refusals.append("paused")
    question.ask()
    assert question.waits == pytest.approx(waits[0]), "those before an answer count no more"


def test_a_question_without_an_answer_is_none_that_was_refused(make_talk: MakeTalk, clock: Clock) -> None:
    refusals: list[str] = []
    question = Question(make_talk(guard=lambda: refusals[0] if refusals else None), clock)
    for _ in range(3):
        assert len(question.ask()) == 1
    refusals.append("paused")
    question.ask()
    assert question.waits == pytest.approx(REFUSED_RETRY_SECONDS)


def test_with_the_connection_it_is_forgotten_and_so_is_the_question(question: Question) -> None:
    (asked,) = question.ask()
    question.answer(asked, data=URL)
    question.api.forget()
    assert (question.api.url, question.waits) == (None, math.inf)
    (asked,) = question.ask()
    question.api.forget()
    question.answer(asked, data=URL)
    assert (question.api.url, question.waits) == (None, math.inf)


def test_a_new_connection_begins_with_short_waits(make_talk: MakeTalk, clock: Clock) -> None:
    question = Question(make_talk(guard=lambda: "paused"), clock)
    for _ in range(3):
        question.ask()
    question.api.forget()
    question.ask()
    assert question.waits == pytest.approx(REFUSED_RETRY_SECONDS)
