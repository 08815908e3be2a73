"""``worker68.mute_group`` at a simulated bridge."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.tasks.acting import act, result
from worker68.bridge.link import Link
from worker68.simulator import Simulator
from worker68.simulator.population import MANAGED_GROUP


def test_a_group_is_muted_and_unmuted(simulated_link: Link, simulated: Simulator) -> None:
    group = simulated.world.groups[MANAGED_GROUP]
    assert result(act(simulated_link, "mute_group", group_id=MANAGED_GROUP)) == {"muted": True, "announcement": None}
    assert group.muted
    result(act(simulated_link, "mute_group", group_id=MANAGED_GROUP, muted=False))
    assert not group.muted


@pytest.mark.parametrize(("muted", "text"), [(True, None), (False, None), (True, "quiet\nplease")])
def test_the_announcement_says_what_was_done(
    muted: bool, text: str | None, simulated_link: Link, simulated: Simulator
) -> None:
    fields: dict[str, Any] = {"group_id": MANAGED_GROUP, "muted": muted, "announcement_text": text}
    sent = result(act(simulated_link, "mute_group", step=1, **fields))
    values = simulated.received[-1].frame["data"]["list"][0]["values"]
    assert (values["chatType"], values["bfShutup"]) == (50, muted)
    expected = {True: "管理员开了全员禁言", False: "管理员关闭了全员禁言"}[muted]
    assert values["content"] == (text.replace("\n", "\\n") if text else expected)
    assert sent["message_id"] is not None
