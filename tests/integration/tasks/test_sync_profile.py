"""``worker68.sync_profile`` at a simulated bridge."""

from __future__ import annotations

import datetime as dt

from tests.integration.tasks.acting import act, result
from worker68.bridge.link import Link
from worker68.simulator.population import ACCOUNT


def test_profile(simulated_link: Link) -> None:
    assert result(act(simulated_link, "sync_profile")) == {
        "profile": {
            "user_id": ACCOUNT,
            "name": "ID采集机器人🤖",
            "handle": "k7m5tzmya2",
            "icon": "http://r11.aiolet.xyz/common/pic/202507/27/44eff667aad9eaa434a0af55d9cd4048.jpg",
            "signature": "专业定制各类聊天软件自动化机器人",
            "created_at": dt.datetime(2025, 5, 6, 10, 31, 34, tzinfo=dt.UTC),
        }
    }
