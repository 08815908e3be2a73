"""``worker68.rename_group`` at a simulated bridge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.bridge.conftest import Worker
from tests.parts.onloop import run
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import Outcome, Status
from worker68.simulator import Simulator
from worker68.simulator.population import MANAGED_GROUP, PLAIN_GROUP

NAME = "worker68.rename_group"


@pytest.fixture
def bridge() -> Iterator[Simulator]:
    with Simulator(heartbeat_seconds=0.1) as simulator:
        yield simulator


@pytest.fixture
def link(worker: Worker, bridge: Simulator) -> Link:
    return worker.ready_link(bridge.url)


def rename(link: Link, **fields: Any) -> Any:
    taken = turn(link, NAME, **fields)
    return run(taken.job.now.act(taken))


def look(link: Link, **fields: Any) -> Any:
    taken = turn(link, NAME, **fields)
    assert taken.job.now.read_back is not None
    return run(taken.job.now.read_back(taken))


def test_the_group_has_the_name_and_reading_back_shows_it(link: Link, bridge: Simulator) -> None:
    wanted = {"group_id": MANAGED_GROUP, "name": "新的名字"}
    assert look(link, **wanted) is None
    finding = rename(link, **wanted)
    assert isinstance(finding, Outcome)
    assert (finding.status, finding.result) == (Status.SUCCEEDED, {"name": "新的名字"})
    assert bridge.world.groups[MANAGED_GROUP].name == "新的名字"
    (frame,) = [one.frame["data"] for one in bridge.received if one.frame.get("data", {}).get("type") == "GroupUpdate"]
    assert frame["data"] == {"op": 7, "groupParam": {"groupName": "新的名字", "groupId": MANAGED_GROUP}}
    assert "protoType" not in frame
    assert look(link, **wanted) == finding


def test_a_group_that_the_account_does_not_manage_is_a_refusal(link: Link) -> None:
    finding = rename(link, group_id=PLAIN_GROUP, name="mine")
    assert isinstance(finding, Outcome)
    assert finding.status is Status.FAILED
    assert look(link, group_id=PLAIN_GROUP, name="mine") is None
