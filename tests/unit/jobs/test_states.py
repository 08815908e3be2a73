"""The table of transitions leads every job to an end, and says one thing about each event."""

from __future__ import annotations

import pytest

from tests.parts.state_diagram import DOCUMENT, draw
from worker68.jobs.states import TRANSITIONS, Event, State, sources, target

UNFINISHED = [state for state in State if state is not State.ENDED]


@pytest.mark.parametrize("event", Event)
def test_each_event_happens_somewhere_and_leads_to_one_state(event: Event) -> None:
    assert sources(event)
    assert {TRANSITIONS[state, event] for state in sources(event)} == {target(event)}


@pytest.mark.parametrize("state", UNFINISHED)
def test_an_end_can_be_reached_from_every_unfinished_state(state: State) -> None:
    reached, before = {state}, 0
    while len(reached) > before:
        before = len(reached)
        reached |= {after for (start, _), after in TRANSITIONS.items() if start in reached}
    assert State.ENDED in reached


def test_an_end_is_left_by_nothing_and_changed_by_a_revision_only() -> None:
    from_end = {event: after for (state, event), after in TRANSITIONS.items() if state is State.ENDED}
    assert from_end == {Event.REVISE: State.ENDED}
    assert sources(Event.REVISE) == (State.ENDED,)


@pytest.mark.parametrize("event", [Event.EXPIRE, Event.CANCEL, Event.REFUSE, Event.BEGIN, Event.DUE])
def test_what_may_have_left_is_not_ended_or_begun_from_outside(event: Event) -> None:
    assert State.SENDING not in sources(event)


@pytest.mark.parametrize(
    "event", [Event.SETTLE, Event.BACK_OFF, Event.GIVE_BACK, Event.RECOVER, Event.DOUBT, Event.ABANDON]
)
def test_the_end_of_an_attempt_needs_a_begun_one(event: Event) -> None:
    assert sources(event) == (State.SENDING,)


def test_the_documentation_shows_the_table() -> None:
    assert DOCUMENT.read_text() == draw(), "write it anew: python -m tests.parts.state_diagram"
