"""``worker68.restart_client`` at a simulated bridge."""

from __future__ import annotations

import pytest

from tests.integration.bridge.servers import eventually
from tests.integration.tasks.acting import Patient, act, error, result
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode, TryAgain
from worker68.simulator import Simulator


@pytest.mark.parametrize("replies", [False, True], ids=["silence", "restarting"])
def test_is_over_when_the_client_says_hello_again(replies: bool, simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.restarting_reply = replies
    simulated.faults.restart_seconds = 0.3
    before = simulated_link.connections
    assert isinstance(result(act(simulated_link, "restart_client", Patient()))["restarted_in"], float)
    assert (simulated_link.why_not_reached, simulated_link.connections) == (None, before + 1)


def test_a_no_is_a_refusal(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.refusals.set(1)
    assert error(act(simulated_link, "restart_client")) == (ErrorCode.REFUSED, 403)


def test_a_client_that_stays_is_asked_again(
    simulated_link: Link, simulated: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker68.tasks.restart_client.BACK_WITHIN_SECONDS", 0.3)
    simulated.faults.silence.set("restart68", 1)
    finding = act(simulated_link, "restart_client", Patient(), reply_timeout=0.5)
    assert isinstance(finding, TryAgain)
    assert finding.spent


def test_a_client_that_does_not_come_back_is_a_failure(
    simulated_link: Link, simulated: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker68.tasks.restart_client.BACK_WITHIN_SECONDS", 0.5)
    simulated.faults.restart_seconds = 60.0
    finding = act(simulated_link, "restart_client", Patient())
    assert error(finding)[0] == ErrorCode.UNAVAILABLE
    eventually(lambda: not simulated_link.ready)
