"""``worker68.answer_friend_request`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, error, frames_of, look, result
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND, STRANGER


def test_the_user_is_a_friend_and_reading_back_shows_it(simulated_link: Link, simulated: Simulator) -> None:
    asked = turn(simulated_link, "worker68.answer_friend_request", user_id=STRANGER)
    assert look(asked) is None
    assert result(act(simulated_link, "answer_friend_request", user_id=STRANGER)) == {"accepted": True}
    assert frames_of(simulated, "UpdateContactsApply") == [{"applyUid": STRANGER, "op": 8}]
    assert STRANGER in simulated.world.contacts
    assert result(look(asked)) == {"accepted": True}
    simulated.faults.refusals.set(1)
    assert look(asked) is None


def test_without_a_request_it_is_refused(simulated_link: Link) -> None:
    assert error(act(simulated_link, "answer_friend_request", user_id=FRIEND)) == (ErrorCode.REFUSED, 1021)
