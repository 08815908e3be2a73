"""``worker68.send_file`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import GROUP_CHAT, act, result
from worker68.bridge.link import Link
from worker68.simulator import Simulator


def test_a_file_is_known_again_by_its_name(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.lose_verdicts.set(1)
    sent = result(act(simulated_link, "send_file", chat=GROUP_CHAT, path="C:\\out\\b.mp4"))
    assert sent["message_id"] is not None
