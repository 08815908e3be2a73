"""``worker68.rename_group`` at a simulated bridge."""

from __future__ import annotations

from typing import Any

from tests.parts.onloop import run
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import Outcome, Status
from worker68.simulator import Simulator
from worker68.simulator.population import MANAGED_GROUP, PLAIN_GROUP

NAME = "worker68.rename_group"


def rename(link: Link, **fields: Any) -> Any:
    taken = turn(link, NAME, **fields)
    return run(taken.job.now.act(taken, taken.job.fields))


def look(link: Link, **fields: Any) -> Any:
    taken = turn(link, NAME, **fields)
    assert taken.job.now.read_back is not None
    return run(taken.job.now.read_back(taken, taken.job.fields))


def test_the_group_has_the_name_and_reading_back_shows_it(simulated_link: Link, simulated: Simulator) -> None:
    wanted = {"group_id": MANAGED_GROUP, "name": "新的名字"}
    assert look(simulated_link, **wanted) is None
    finding = rename(simulated_link, **wanted)
    assert isinstance(finding, Outcome)
    assert (finding.status, finding.result) == (Status.SUCCEEDED, {"name": "新的名字"})
    assert simulated.world.groups[MANAGED_GROUP].name == "新的名字"
    (frame,) = [
        one.frame["data"] for one in simulated.received if one.frame.get("data", {}).get("type") == "GroupUpdate"
    ]
    assert frame["data"] == {"op": 7, "groupParam": {"groupName": "新的名字", "groupId": MANAGED_GROUP}}
    assert "protoType" not in frame
    assert look(simulated_link, **wanted) == finding


def test_a_group_that_the_account_does_not_manage_is_a_refusal(simulated_link: Link) -> None:
    finding = rename(simulated_link, group_id=PLAIN_GROUP, name="mine")
    assert isinstance(finding, Outcome)
    assert finding.status is Status.FAILED
    assert look(simulated_link, group_id=PLAIN_GROUP, name="mine") is None
