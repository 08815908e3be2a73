"""A send whose verdict does not come: what its doubt says of the client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.integration.tasks.acting import GROUP_CHAT
from tests.parts.onloop import run
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.jobs.evidence import TAKEN_SECONDS
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
    ("shows", "verdict_timeout", "words"),
    [
        (False, TAKEN_SECONDS + 0.3, "; the client did not show it within 2 s, so it may not have taken it"),
        (True, TAKEN_SECONDS + 0.3, "; the client had taken it: it showed the message as its own"),
        (False, 0.2, "and no verdict proves that it was sent or not"),
    ],
    ids=["not taken", "taken", "not looked for long enough"],
)
def test_a_doubt_says_whether_the_client_had_taken_the_message(
    simulated_link: Link, simulated: Simulator, shows: bool, verdict_timeout: float, words: str
) -> None:
    simulated.faults.verdict = "swallowed"
    simulated.faults.client = ClientKnobs(pending_echo=shows)
    assert doubt(simulated_link, verdict_timeout).endswith(words)
