"""Which accounts are due: what has changed, whose time has come, and who waited for room."""

from __future__ import annotations

import math

from worker68.scheduling.owned_accounts import MOST_CHANGED, MOST_DUE, Agenda


def test_what_has_changed_is_due_once() -> None:
    agenda = Agenda()
    agenda.mark("a")
    agenda.mark("b")
    agenda.mark("a")
    assert agenda.next_at(has_room=True) == 0.0
    assert agenda.take(1.0, has_room=True) == ["a", "b"]
    assert agenda.take(1.0, has_room=True) == []
    assert agenda.next_at(has_room=True) == math.inf


def test_whose_time_has_come_is_due() -> None:
    agenda = Agenda()
    agenda.plan("late", 30.0)
    agenda.plan("soon", 10.0)
    assert agenda.next_at(has_room=True) == 10.0
    assert agenda.take(9.9, has_room=True) == []
    assert agenda.take(10.0, has_room=True) == ["soon"]
    assert agenda.next_at(has_room=True) == 30.0


def test_the_last_plan_counts() -> None:
    agenda = Agenda()
    agenda.plan("a", 10.0)
    agenda.plan("a", 20.0)
    assert agenda.next_at(has_room=True) == 20.0
    assert agenda.take(15.0, has_room=True) == []
    agenda.plan("a", 5.0)
    assert agenda.take(15.0, has_room=True) == ["a"]
    assert agenda.take(99.0, has_room=True) == []


def test_what_is_never_due_is_not_kept() -> None:
    agenda = Agenda()
    agenda.plan("a", 10.0)
    agenda.plan("a", math.inf)
    assert agenda.take(99.0, has_room=True) == []
    assert agenda.next_at(has_room=True) == math.inf
    agenda.plan("a", 10.0)
    assert agenda.take(99.0, has_room=True) == ["a"]


def test_who_waited_for_room_comes_first_once_there_is() -> None:
    agenda = Agenda()
    agenda.wait_for_room("crowded")
    agenda.mark("other")
    assert agenda.take(0.0, has_room=False) == ["other"]
    agenda.mark("other")
    assert agenda.take(0.0, has_room=True) == ["crowded", "other"]


def test_what_is_forgotten_is_never_due() -> None:
    agenda = Agenda()
    agenda.mark("a")
    agenda.plan("a", 1.0)
    agenda.wait_for_room("a")
    agenda.forget("a")
    assert agenda.take(9.0, has_room=True) == []
    agenda.plan("a", 1.0)
    assert agenda.take(9.0, has_room=True) == ["a"]


def test_of_many_accounts_one_round_looks_at_some_and_none_is_passed_over() -> None:
    agenda = Agenda()
    names = [f"a{number}" for number in range(3 * MOST_CHANGED)]
    for name in names:
        agenda.mark(name)
    taken: list[str] = []
    while part := agenda.take(0.0, has_room=True):
        assert len(part) <= MOST_CHANGED
        taken += part
        assert agenda.next_at(has_room=True) == (0.0 if len(taken) < len(names) else math.inf)
    assert taken == names


def test_neither_what_has_changed_nor_what_is_due_keeps_the_other_waiting() -> None:
    agenda = Agenda()
    for number in range(2 * MOST_CHANGED):
        agenda.mark(f"changed {number}")
        agenda.plan(f"due {number}", float(number))
    taken = agenda.take(999.0, has_room=True)
    assert taken[:MOST_CHANGED] == [f"changed {number}" for number in range(MOST_CHANGED)]
    assert taken[MOST_CHANGED:] == [f"due {number}" for number in range(MOST_DUE)]


def test_those_that_wait_for_room_are_due_as_long_as_there_is_some() -> None:
    agenda = Agenda()
    names = [f"a{number}" for number in range(2 * MOST_CHANGED)]
    for name in names:
        agenda.wait_for_room(name)
    assert agenda.next_at(has_room=False) == math.inf
    assert agenda.take(0.0, has_room=True) == names[:MOST_CHANGED]
    assert agenda.waits_for_room
    assert agenda.next_at(has_room=True) == 0.0
    assert agenda.take(0.0, has_room=True) == names[MOST_CHANGED:]
