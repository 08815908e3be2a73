"""A send whose verdict does not come: what its doubt says of the client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.integration.tasks.acting import GROUP_CHAT
from tests.parts.onloop import run
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import Outcome, Status
from worker68.simulator import Simulator
from worker68.simulator.queues import ClientKnobs


def doubt(link: Link, verdict_timeout: float) -> str:
    """Send, and return the words of the doubt."""
    taken = turn(link, "worker68.send_message", chat=GROUP_CHAT, text="hello")
    patient = replace(taken, account=replace(taken.account, verdict_timeout=verdict_timeout))
    finding: Any = run(patient.job.now.act(patient, patient.job.fields))
    assert isinstance(finding, Outcome)
    assert finding.status is Status.IN_DOUBT
    assert finding.error is not None
    return finding.error.message


@pytest.mark.parametrize(
    ("shows", "time_to_show", "verdict_timeout", "words"),
    [
        (False, 0.1, 2.5, "; the client did not show it within 2 s, so it may not have taken it"),
        (True, 0.1, 4.0, "; the client had taken it: it showed the message as its own"),
        (False, 600.0, 1.0, "and no verdict proves that it was sent or not"),
    ],
    ids=["not taken", "taken", "not looked for long enough"],
)
def test_a_doubt_says_whether_the_client_had_taken_the_message(
    simulated_link: Link,
    simulated: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    shows: bool,
    time_to_show: float,
    verdict_timeout: float,
    words: str,
) -> None:
    """``time_to_show`` stands for the 2 s of the words, so that no case is near its limit."""
    monkeypatch.setattr("worker68.tasks.turn.TAKEN_SECONDS", time_to_show)
    simulated.faults.verdict = "swallowed"
    simulated.faults.client = ClientKnobs(pending_echo=shows)
    assert doubt(simulated_link, verdict_timeout).endswith(words)
