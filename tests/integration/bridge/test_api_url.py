"""A link learns the API's address from its bridge, as soon as the bridge has said Hello, and asks again where it does not."""

from __future__ import annotations

from typing import Any

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import API_URL, HELLO, WellBehavedBridge, eventually
from worker68.bridge.exchange import LinkOptions


def test_api_address_needs_only_hello(worker: Worker, bridge: WellBehavedBridge) -> None:
    bridge.greeting = [HELLO]
    link = worker.link(bridge.url)
    assert eventually(lambda: link.api_url) == API_URL
    assert not link.ready


def test_api_address_is_asked_for_again(worker: Worker, bridge: WellBehavedBridge) -> None:
    def refuse_once(frame: Any) -> list[Any]:
        first = len(bridge.told("getApiUrl")) == 1
        return [{"id": frame["id"], "type": "getApiUrl", "error": {"errorCode": 1}}] if first else []

    bridge.answer = refuse_once
    link = worker.link(bridge.url, api_url_retry=0.05)
    assert eventually(lambda: link.api_url) == API_URL


def test_api_address_is_asked_for_again_soon_where_the_guard_has_refused_the_question(
    worker: Worker, bridge: WellBehavedBridge
) -> None:
    """A new owner may be connected before SQL has said that the account is not paused."""
    refusals = iter(["nothing is known yet"] * 3)
    options = LinkOptions(guard=lambda: next(refusals, None))
    link = worker.link(bridge.url, options=options, api_url_retry=600)
    assert eventually(lambda: link.api_url) == API_URL
