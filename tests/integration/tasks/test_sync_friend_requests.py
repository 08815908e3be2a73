"""``worker68.sync_friend_requests`` at a simulated bridge."""

from __future__ import annotations

import datetime as dt

from tests.integration.tasks.acting import act, rows
from worker68.bridge.link import Link
from worker68.jobs.snapshot import FriendRequestRow
from worker68.simulator.population import STRANGER


def test_friend_requests(simulated_link: Link) -> None:
    (request,) = rows(act(simulated_link, "sync_friend_requests"))
    assert isinstance(request, FriendRequestRow)
    assert (request.user_id, request.message, request.kind) == (STRANGER, "验证：我是八方来财4", "IDENTIFY")
    assert request.requested_at == dt.datetime(2025, 10, 8, 13, 4, 21, tzinfo=dt.UTC)
