"""The questions of a probe as data: each is asked for something, and each answer says what it settles."""

from __future__ import annotations

from worker68.cli.probe.questions import AT_ONCE, QUESTIONS


def test_names_are_unique_and_those_at_once_come_first() -> None:
    names = [question.name for question in QUESTIONS]
    assert len(set(names)) == len(names)
    assert tuple(names[: len(AT_ONCE)]) == AT_ONCE
    assert names[-1] == "second client", "it may cost the first connection"


def test_only_what_is_asked_for_may_be_sent() -> None:
    needs = {question.name: question.needs for question in QUESTIONS}
    assert {name for name, need in needs.items() if need == "send"} == {
        *("reply to a send", "eleven digits", "twelve digits", "pending echo")
    }
    assert needs["mute times"] == "group"


def test_each_question_can_be_answered_either_way_in_words() -> None:
    for question in QUESTIONS:
        assert question.asks.endswith("?")
        assert len(question.meanings) >= 2, question.name
        for key, meaning in question.meanings.items():
            assert meaning.words, (question.name, key)
            assert meaning.settles, (question.name, key)
