"""``worker68.sync_contact`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, error, result
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode
from worker68.simulator.population import (
    FRIEND,
    STRANGER,
)


def test_contact(simulated_link: Link) -> None:
    contact = result(act(simulated_link, "sync_contact", user_id=FRIEND))["contact"]
    assert (contact["user_id"], contact["name"], contact["friend"]) == (FRIEND, "Pwgen", True)
    assert (contact["handle"], contact["online"], contact["common_groups"]) == ("02lx0l99q6", False, 1)
    assert result(act(simulated_link, "sync_contact", user_id=STRANGER))["contact"]["friend"] is False


def test_somebody_whom_the_service_does_not_know(simulated_link: Link) -> None:
    assert error(act(simulated_link, "sync_contact", user_id=5)) == (ErrorCode.REFUSED, 1021)
