"""Values that JSON allows, or JavaScript writes, and few readers take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import WellBehavedBridge
from tests.integration.tasks.acting import act, deep, result, rows
from worker68.bridge.link import Link
from worker68.protocol.values import MOST_LEVELS


class TestUnusualValues:
    """What JSON allows, or JavaScript writes, and few readers take."""

    @pytest.fixture
    def odd(self, worker: Worker) -> Iterator[tuple[Link, WellBehavedBridge]]:
        bridge = WellBehavedBridge()
        yield worker.ready_link(bridge.url), bridge
        bridge.stop()

    @pytest.mark.parametrize(
        ("given", "taken"),
        [(float("nan"), "NaN"), (float("inf"), "Infinity"), (10**30, 10**30), ("a\ud83d", "a?"), (deep(5), deep(5))],
    )
    def test_a_call_of_the_producers_own_gets_what_can_be_read(
        self, odd: tuple[Link, WellBehavedBridge], given: Any, taken: Any
    ) -> None:
        link, bridge = odd
        bridge.answer = lambda frame: [{"id": frame["id"], "data": {"x": given}}] if frame["type"] == "request" else []
        given_back = result(act(link, "request", type="UserInfo", path="/user/userInfo"))
        assert given_back["data"] == {"x": taken}
        msgspec.json.encode(given_back)

    @pytest.mark.parametrize("levels", [200, 900])
    def test_what_is_nested_too_deeply_is_cut(self, odd: tuple[Link, WellBehavedBridge], levels: int) -> None:
        link, bridge = odd
        bridge.answer = lambda frame: (
            [{"id": frame["id"], "data": {"x": deep(levels), "y": 1}}] if frame["type"] == "request" else []
        )
        data = result(act(link, "request", type="UserInfo", path="/user/userInfo"))["data"]
        assert data["y"] == 1
        assert msgspec.json.encode(data).count(b"[") == MOST_LEVELS

    def test_an_entry_of_a_list_with_such_a_number_is_a_row_all_the_same(
        self, odd: tuple[Link, WellBehavedBridge]
    ) -> None:
        link, bridge = odd
        raw = '{"id":"%s","data":[{"id":5,"name":"a\\ud83d","memberCount":1e400,"hostId":true},{"id":6}]}'
        bridge.answer = lambda frame: [raw % frame["id"]] if frame["type"] == "getGroups" else []
        first, second = rows(act(link, "sync_groups"))
        assert (first.group_id, first.name, first.member_count, first.host_id) == (5, "a?", None, None)
        assert second.group_id == 6
