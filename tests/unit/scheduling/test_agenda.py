"""Which accounts are due: what has changed, whose time has come, and who waited for room."""

from __future__ import annotations

import math

from worker68.scheduling.agenda import Agenda


def test_what_has_changed_is_due_once() -> None:
    agenda = Agenda()
    agenda.mark("a")
    agenda.mark("b")
    agenda.mark("a")
    assert agenda.next_at == 0.0
    assert agenda.take(1.0, has_room=True) == ["a", "b"]
    assert agenda.take(1.0, has_room=True) == []
    assert agenda.next_at == math.inf


def test_whose_time_has_come_is_due() -> None:
    agenda = Agenda()
    agenda.plan("late", 30.0)
    agenda.plan("soon", 10.0)
    assert agenda.next_at == 10.0
    assert agenda.take(9.9, has_room=True) == []
    assert agenda.take(10.0, has_room=True) == ["soon"]
    assert agenda.next_at == 30.0


def test_the_last_plan_counts() -> None:
    agenda = Agenda()
    agenda.plan("a", 10.0)
    agenda.plan("a", 20.0)
    assert agenda.next_at == 20.0
    assert agenda.take(15.0, has_room=True) == []
    agenda.plan("a", 5.0)
    assert agenda.take(15.0, has_room=True) == ["a"]
    assert agenda.take(99.0, has_room=True) == []


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
