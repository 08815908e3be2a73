"""A call on a real connection: its guard lets it go, holds it or refuses it, and what fails beside it harms no other."""

from __future__ import annotations

import threading

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import API_URL, WellBehavedBridge, eventually
from tests.parts.onloop import evidence_of
from worker68.bridge.exchange import LinkOptions
from worker68.clock import monotonic
from worker68.jobs.evidence import BridgeError


def test_guard_may_refuse_before_the_first_byte(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    call = link.call("getGroups", guard=lambda: "paused")
    assert not evidence_of(call).written
    assert call.refusal == "paused"
    assert bridge.told("getGroups") == []


def test_guard_may_hold_a_call_and_others_pass_it(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    bridge.answer = lambda frame: [{"id": frame["id"], "type": frame["type"], "data": []}]
    may_go = threading.Event()
    held = link.call("getGroups", guard=lambda: None if may_go.is_set() else monotonic() + 0.05)
    assert evidence_of(link.call("restart68")).replied
    assert bridge.told("getGroups") == []
    may_go.set()
    assert evidence_of(held).replied
    assert len(bridge.told("getGroups")) == 1


def test_is_held_until_the_time_that_the_guard_says(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    bridge.answer = lambda frame: [{"id": frame["id"], "type": frame["type"], "data": []}]
    opens_at = monotonic() + 0.3
    said: list[float | None] = []

    def guard() -> float | None:
        said.append(None if monotonic() >= opens_at else opens_at)
        return said[-1]

    held = link.call("getGroups", guard=guard)
    assert evidence_of(held).replied
    assert said[-1] is None, "it was asked again then, and not written before"


def test_what_is_held_is_given_up_like_any_other(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    call = link.call("getGroups", guard=lambda: monotonic() + 3600)
    eventually(lambda: call.held_since)
    call.close()
    assert not evidence_of(call).written
    assert bridge.told("getGroups") == []


def test_what_is_held_over_its_deadline_is_given_up_in_the_end(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    call = link.call("getGroups", guard=lambda: monotonic() + 3600)
    eventually(lambda: call.held_since)
    seen = evidence_of(call, 0.05)
    assert (seen.written, seen.refusal) == (False, "given up before a byte was written")
    assert bridge.told("getGroups") == []


def test_what_is_held_ends_with_the_connection(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    call = link.call("getGroups", guard=lambda: monotonic() + 3600)
    eventually(lambda: call.held_since)
    bridge.drop()
    assert not evidence_of(call).written
    assert "the connection was lost" in (call.refusal or "")


def test_the_accounts_guard_is_for_every_frame(worker: Worker, bridge: WellBehavedBridge) -> None:
    paused = ["paused by a test"]
    options = LinkOptions(guard=lambda: paused[0] if paused else None)
    link = worker.link(bridge.url, options=options, api_url_retry=0.05)
    eventually(lambda: link.ready)
    call = link.call("getGroups")
    assert not evidence_of(call).written
    assert call.refusal == "paused by a test"
    assert (bridge.told("getGroups"), bridge.told("getApiUrl"), link.api_url) == ([], [], None)
    paused.clear()
    assert eventually(lambda: link.api_url) == API_URL


def test_an_error_is_reported_with_the_calls_guard(worker: Worker, bridge: WellBehavedBridge) -> None:
    reported: list[object] = []
    link = worker.ready_link(bridge.url, on_error=lambda *about: reported.append(about))
    bridge.answer = lambda frame: [{"id": frame["id"], "type": frame["type"], "error": {"errorCode": 300}}]

    def guard() -> None:
        return None

    assert evidence_of(link.call("getGroups", guard=guard)).error == BridgeError(300, "")
    assert reported == [(guard, BridgeError(300, ""))]


def test_broken_guard_refuses_and_harms_no_other(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": []}]

    def guard() -> str | None:
        raise RuntimeError

    assert not evidence_of(link.call("getGroups", guard=guard)).written
    assert evidence_of(link.call("getGroups")).replied
    assert link.counters["callback_errors"] == 1


def test_broken_callback_is_counted_and_harms_no_other(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    worker.events = None  # type: ignore[assignment]
    bridge.say({"operator": "recall_msg", "data": {}})
    eventually(lambda: link.counters["callback_errors"] == 1)
    bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": []}]
    assert evidence_of(link.call("getGroups")).replied
