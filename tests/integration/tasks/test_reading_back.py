"""A change is read back: what was done is seen, and no answer shows nothing."""

from __future__ import annotations

from tests.integration.tasks.acting import act, look, result
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.simulator import Simulator
from worker68.simulator.population import MANAGED_GROUP


def test_reading_back_sees_what_was_done(simulated_link: Link, simulated: Simulator) -> None:
    mute = turn(simulated_link, "worker68.mute_group", group_id=MANAGED_GROUP)
    notice = turn(simulated_link, "worker68.set_group_notice", group_id=MANAGED_GROUP, notice="one\ntwo")
    assert look(mute) is None
    assert look(notice) is None
    result(act(simulated_link, "mute_group", group_id=MANAGED_GROUP))
    set_ = result(act(simulated_link, "set_group_notice", group_id=MANAGED_GROUP, notice="one\ntwo"))
    mute = turn(simulated_link, "worker68.mute_group", group_id=MANAGED_GROUP)
    notice = turn(simulated_link, "worker68.set_group_notice", group_id=MANAGED_GROUP, notice="one\ntwo")
    assert result(look(mute)) == {"muted": True, "announcement": None}
    assert result(look(notice)) == set_


def test_reading_back_without_an_answer_shows_nothing(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.refusals.set(2)
    mute = turn(simulated_link, "worker68.mute_group", group_id=MANAGED_GROUP, muted=False)
    notice = turn(simulated_link, "worker68.set_group_notice", group_id=MANAGED_GROUP, notice="asdd")
    assert look(mute) is None
    assert look(notice) is None
