"""``worker68.clear_group_notice`` at a simulated bridge."""

from __future__ import annotations

from typing import Any

from tests.parts.onloop import run
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import Outcome, Status
from worker68.simulator import Simulator
from worker68.simulator.population import MANAGED_GROUP, PLAIN_GROUP

NAME = "worker68.clear_group_notice"


def clear(link: Link, group_id: int) -> Any:
    taken = turn(link, NAME, group_id=group_id)
    return run(taken.job.now.act(taken, taken.job.fields))


def look(link: Link, group_id: int) -> Any:
    taken = turn(link, NAME, group_id=group_id)
    assert taken.job.now.read_back is not None
    return run(taken.job.now.read_back(taken, taken.job.fields))


def test_the_notice_is_gone_and_reading_back_shows_it(simulated_link: Link, simulated: Simulator) -> None:
    notices = [simulated.world.groups[MANAGED_GROUP].notice]
    assert look(simulated_link, MANAGED_GROUP) is None
    finding = clear(simulated_link, MANAGED_GROUP)
    assert isinstance(finding, Outcome)
    assert (finding.status, finding.result) == (Status.SUCCEEDED, {"notice_id": None})
    notices.append(simulated.world.groups[MANAGED_GROUP].notice)
    assert [notice is None for notice in notices] == [False, True]
    assert look(simulated_link, MANAGED_GROUP) == finding


def test_a_group_that_the_account_does_not_manage_is_a_refusal(simulated_link: Link) -> None:
    finding = clear(simulated_link, PLAIN_GROUP)
    assert isinstance(finding, Outcome)
    assert finding.status is Status.FAILED


def test_a_reply_without_a_group_does_not_show_that_the_notice_is_gone(
    simulated_link: Link, simulated: Simulator
) -> None:
    simulated.faults.refusals.set(1)
    assert look(simulated_link, MANAGED_GROUP) is None
