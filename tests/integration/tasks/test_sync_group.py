"""``worker68.sync_group`` at a simulated bridge."""

from __future__ import annotations

import datetime as dt

from tests.integration.tasks.acting import act, result
from worker68.bridge.link import Link
from worker68.simulator.population import (
    FRIEND,
    MANAGED_GROUP,
    OWNED_GROUP,
)


def test_group(simulated_link: Link) -> None:
    group = result(act(simulated_link, "sync_group", group_id=MANAGED_GROUP))["group"]
    assert group == {
        "group_id": MANAGED_GROUP,
        "name": "huimei",
        "host_id": FRIEND,
        "member_count": 4,
        "role": "admin",
        "muted": None,
        "notice_id": 1043631,
        "notice": "asdd",
        "alias": "k7d2dng8q8",
        "created_at": dt.datetime(2025, 7, 26, 2, 0, tzinfo=dt.UTC),
    }
    assert result(act(simulated_link, "sync_group", group_id=OWNED_GROUP))["group"]["role"] == "host"
