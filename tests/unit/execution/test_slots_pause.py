"""Nothing is written for an account before SQL was asked about its pauses, nor while it is paused."""

from __future__ import annotations

import pytest

from tests.parts.jobs import NOW
from worker68.execution.slots import ANSWER_SECONDS, AccountPause, Answer
from worker68.store.pauses import Pause

PAUSE = Pause(1, "main", "a complaint", "ann", NOW, None)


class TestAccountPause:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The moment, which the test sets."""
        moment = [1000.0]
        monkeypatch.setattr("worker68.execution.slots.boottime", lambda: moment[0])
        return moment

    def test_nothing_is_written_before_sql_was_asked(self, clock: list[float]) -> None:
        answers = [Answer(-1.0, {})]
        paused = AccountPause("main", lambda: answers[-1])
        assert "could not be asked" in (paused.why_not() or "")
        answers.append(Answer(1000.0, {}))
        assert paused.why_not() is None

    def test_an_answer_counts_for_some_seconds_from_the_question_on(self, clock: list[float]) -> None:
        paused = AccountPause("main", lambda: Answer(1001.0, {}))
        clock[0] = 1001.0 + ANSWER_SECONDS - 0.1
        assert paused.why_not() is None
        clock[0] = 1001.0 + ANSWER_SECONDS
        assert "could not be asked" in (paused.why_not() or "")

    def test_a_pause_counts_until_sql_says_otherwise(self, clock: list[float]) -> None:
        answers = [Answer(1000.0, {"main": PAUSE})]
        paused, other = (AccountPause(name, lambda: answers[-1]) for name in ("main", "other"))
        assert other.why_not() is None
        clock[0] = 5000.0
        assert paused.why_not() == "paused by ann since 2026-11-23 12:00:00 UTC: a complaint"
        answers.append(Answer(4999.0, {}))
        assert paused.why_not() is None

    def test_an_answer_from_before_the_account_was_opened_does_not_count(self, clock: list[float]) -> None:
        paused = AccountPause("main", lambda: Answer(999.9, {}))
        assert "could not be asked" in (paused.why_not() or "")
