"""One session on the loop: what it may cost the others, and the log."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import LOGIN, WellBehavedBridge, eventually
from tests.parts.onloop import PATIENCE_SECONDS, evidence_of, run
from worker68.bridge import runner as runner_module
from worker68.bridge import session as session_module
from worker68.clock import Deadline
from worker68.observe.outages import Outage


def test_a_session_that_cannot_start_over_is_one_traceback_however_often_it_is_tried(
    worker: Worker, bridge: WellBehavedBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "REST_SECONDS", 0.01)
    outage = Outage("bridge_start_over_failed", "bridge_started_over", "nothing", fault=True)
    monkeypatch.setattr(runner_module, "_START_OVER", outage)  # that of the process may last, from another test
    link = worker.ready_link(bridge.url)
    session, tries = link.session, [0]
    whole = session.fail

    def fail() -> None:
        tries[0] += 1
        if tries[0] < 10:
            raise ValueError("on purpose")
        whole()

    def break_once() -> None:
        raise ValueError("on purpose")

    monkeypatch.setattr(session, "fail", fail)
    with capture_logs() as logs:
        link._runner.step(break_once)
        eventually(lambda: link.ready and link.connections == 2)
    events = [line["event"] for line in logs]
    assert events.count("bridge_io_failed") == 1
    assert events.count("bridge_start_over_failed") == 1
    assert events.count("bridge_started_over") == 1
    assert tries[0] == 10


def test_the_loop_goes_on_while_a_large_message_is_read(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    entries = [{"uid": str(number), "nickName": "n" * 50} for number in range(50_000)]
    bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": entries}]

    async def ask_and_count() -> tuple[Any, int]:
        call, steps = link.call("getGroups"), 0
        asking = asyncio.create_task(call.wait(Deadline.after(PATIENCE_SECONDS)))
        while not asking.done():
            await asyncio.sleep(0)
            steps += link.session._inbox is not None and not link.session._inbox.wants_read
        return (await asking).data, steps

    data, steps = run(ask_and_count())
    assert data == entries
    assert steps > 0, "other things ran while the reply was decoded"


def test_a_flood_is_heard_in_slices_and_whole(
    worker: Worker, bridge: WellBehavedBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "STEP_SECONDS", 0.0)
    link = worker.ready_link(bridge.url)
    before = link.counters["messages_in"]
    for number in range(500):
        bridge.say({"operator": "groupUpdate", "data": {"number": number}})
    bridge.say(LOGIN)
    eventually(lambda: link.counters["messages_in"] == before + 501)
    assert [json.loads(raw)["data"]["number"] for _, _, raw in worker.events] == list(range(500))


def test_a_large_message_does_not_change_the_order(worker: Worker, bridge: WellBehavedBridge) -> None:
    worker.ready_link(bridge.url)
    sizes = [1, 400_000, 1, 1, 3_000_000, 1]
    for number, size in enumerate(sizes):
        bridge.say({"operator": f"event {number}", "data": "x" * size})
    eventually(lambda: len(worker.events) == len(sizes))
    assert [operator for _, operator, _ in worker.events] == [f"event {number}" for number in range(len(sizes))]


def test_a_large_message_just_before_the_end_still_counts(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    bridge.say({"operator": "the last", "data": "x" * 2_000_000})
    bridge.connections[-1].close()
    eventually(lambda: link.connections == 2 and link.ready)
    assert [operator for _, operator, _ in worker.events] == ["the last"]


def test_a_link_closed_while_a_large_message_is_read_is_closed(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.ready_link(bridge.url)
    bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": ["x" * 100] * 100_000}]
    call = link.call("getGroups")
    eventually(lambda: link.session._inbox is not None and not link.session._inbox.wants_read)
    worker.made[0].close("main")
    seen = evidence_of(call)
    assert (seen.replied, seen.connection_lost) == (False, True)
    assert link.why_not_ready == "the link is closed"
