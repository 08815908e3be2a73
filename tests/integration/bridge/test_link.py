"""A link to a bridge that behaves: state, calls, sends, reconnects, the end."""

from __future__ import annotations

import asyncio
import json
import select
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import (
    API_URL,
    HELLO,
    LOGIN,
    LOGOUT,
    WellBehavedBridge,
    eventually,
)
from tests.parts.onloop import PATIENCE_SECONDS, evidence_of, run
from worker68.bridge import runner as runner_module
from worker68.bridge.correlation import LateEvidence
from worker68.bridge.link import Link
from worker68.bridge.session import Session
from worker68.clock import Deadline
from worker68.jobs.evidence import BridgeError, Evidence, Verdict
from worker68.jobs.fields import Chat
from worker68.protocol.messages import TextMessage

GROUP = Chat("group", 389284)
OURS = "10000000001"
HELLO_TEXT = TextMessage(GROUP, "hello\nthere")


def verdict(status: int, custom_msg_id: str, message_id: int | None = None) -> Any:
    entry = {"customMsgId": custom_msg_id, "updated": {"readStatus": status, "MsgID": message_id}}
    return {"operator": "msgListPropertyUpdate", "data": {"id": GROUP.id, "type": "group", "list": [entry]}}


def accept_and_deliver(frame: Any) -> list[Any]:
    if frame["type"] != "sendMsg":
        return []
    return [{"id": frame["id"], "type": "sendMsg", "data": "success"}, verdict(1, frame["data"]["custom_msg_id"], 77)]


def let_arrive(link: Link) -> None:
    """Wait until the socket has something that was not read yet."""
    assert link.session.connection is not None
    assert select.select([link.session.connection], [], [], PATIENCE_SECONDS)[0]


class TestState:
    def test_becomes_ready_and_learns_the_api_address(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.link(bridge.url)
        assert link.why_not_ready == f"connecting to the bridge ({bridge.url})"
        assert eventually(lambda: link.ready and link.api_url) == API_URL
        assert worker.changes >= 3

    def test_a_start_in_order_is_two_lines_of_the_log(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        with capture_logs() as logs:
            worker.ready_link(bridge.url)
        assert [line["event"] for line in logs] == ["bridge_not_ready", "bridge_ready"]
        assert logs[0]["reason"] == f"connecting to the bridge ({bridge.url})"

    def test_why_it_does_not_become_ready_is_logged(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridge.greeting = [HELLO]
        with capture_logs() as logs:
            link = worker.link(bridge.url, login=0.05)
            eventually(lambda: "no sign since" in (link.why_not_ready or ""))
        reasons = [line["reason"] for line in logs if line["event"] == "bridge_not_ready"]
        assert [reason.partition(" (")[0] for reason in reasons][:1] == ["connecting to the bridge"]
        assert [reason for reason in reasons if "no sign since" in reason] == reasons[1:]

    def test_says_when_the_client_has_lost_its_server(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        bridge.say(LOGOUT)
        eventually(lambda: "logged out" in (link.why_not_ready or ""))
        call = link.call("getGroups")
        assert not evidence_of(call).written
        assert "logged out" in (call.refusal or "")
        bridge.say(LOGIN)
        eventually(lambda: link.ready)

    def test_login_goes_stale_by_itself(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.link(bridge.url, login=0.05)
        eventually(lambda: "no sign since" in (link.why_not_ready or ""))

    def test_not_ready_before_hello(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridge.greeting = [LOGIN]
        link = worker.link(bridge.url)
        eventually(lambda: "no Hello yet" in (link.why_not_ready or ""))
        bridge.say(HELLO)
        eventually(lambda: link.ready)

    def test_request_is_refused_while_the_address_is_unknown(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridge.answer = lambda frame: [{"id": frame["id"], "type": "getApiUrl", "data": 5}]
        link = worker.link(bridge.url)
        eventually(lambda: link.ready)
        call = link.request("UserInfo", "/user/userInfo")
        assert not evidence_of(call).written
        assert call.refusal == "the bridge has not said the API's address yet"

    @pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:5600", "ws://", ""])
    def test_url_that_is_none(self, worker: Worker, url: str) -> None:
        with pytest.raises(ValueError, match="is no bridge URL"):
            worker.bridges().open("main", url)

    def test_an_account_has_one_link(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridges = worker.bridges()
        first = bridges.open("main", bridge.url)
        second = bridges.open("main", bridge.url)
        assert first.why_not_ready == "the link is closed"
        eventually(lambda: second.ready)


class TestCalls:
    def test_request_goes_to_the_address_and_brings_its_data(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        bridge.answer = lambda frame: [
            {"id": frame["id"], "type": "request", "data": {"commonResult": {"errCode": 200}}}
        ]
        seen = evidence_of(link.request("GroupDetail", "/group/groupDetail", {"groupId": 1}, "group"))
        assert (seen.written, seen.replied, seen.error) == (True, True, None)
        (told,) = bridge.told("request")
        url = API_URL + "/group/groupDetail"
        assert told["data"] == {"type": "GroupDetail", "protoType": "group", "url": url, "data": {"groupId": 1}}

    def test_error_reply(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "error": {"errorCode": "300"}}]
        assert evidence_of(link.call("getGroups")).error == BridgeError(300, "")

    def test_silence_ends_at_the_deadline(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        call = link.call("getGroups")
        eventually(lambda: call.written)
        seen = evidence_of(call, 0.01)
        assert (seen.written, seen.replied) == (True, False)
        told = eventually(lambda: bridge.told("getGroups"))
        bridge.say({"id": told[0]["id"], "type": "getGroups", "data": []})
        eventually(lambda: link.counters["late_replies"] == 1)

    def test_refused_at_once_while_the_link_is_down(self, worker: Worker) -> None:
        link = worker.link("ws://127.0.0.1:1")
        eventually(lambda: "connection refused" in (link.why_not_ready or ""))
        call = link.call("getGroups")
        assert not evidence_of(call).written
        assert call.refusal == "bridge not reachable: connection refused (ws://127.0.0.1:1)"

    def test_lost_connection_ends_a_call(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        call = link.call("restart68")
        eventually(lambda: bridge.told("restart68"))
        bridge.drop()
        seen = evidence_of(call)
        assert (seen.written, seen.replied, seen.connection_lost) == (True, False, True)

    def test_call_left_by_its_block_is_given_up(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url, max_pending=1)
        with link.call("getGroups") as call:
            eventually(lambda: call.written)
        eventually(lambda: call.over)
        call.close()
        bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": []}]
        assert evidence_of(link.call("getGroups")).replied

    def test_call_of_one_who_waits_no_longer_is_given_up(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url, max_pending=1)
        call = link.call("getGroups")
        eventually(lambda: call.written)

        async def cancel_the_wait() -> bool:
            waiting = asyncio.create_task(call.wait(Deadline.after(3600)))
            await asyncio.sleep(0)  # it waits
            waiting.cancel()
            await asyncio.wait([waiting])
            return waiting.cancelled()

        assert run(cancel_the_wait())
        eventually(lambda: call.over)
        bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": []}]
        assert evidence_of(link.call("getGroups")).replied

    def test_many_at_once_each_get_their_own_reply(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        bridge.answer = lambda frame: (
            [{"id": frame["id"], "type": "echo", "data": frame["data"]}] if "data" in frame else []
        )
        calls = [link.call("echo", number) for number in range(50)]
        assert [evidence_of(call).data for call in calls] == list(range(50))


class TestSends:
    def test_verdict_settles(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        bridge.answer = accept_and_deliver
        seen = evidence_of(link.send(HELLO_TEXT, OURS))
        assert (seen.replied, seen.verdict, seen.tied_by, seen.message_id) == (True, Verdict.SENT, "id", 77)
        (told,) = bridge.told("sendMsg")
        assert told["data"]["list"][0]["values"]["content"] == "hello\\nthere"
        assert not link.one_send_per_chat

    def test_older_bridge_gets_no_id_and_is_matched_by_chat(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url, match="chat")
        bridge.answer = lambda frame: [verdict(1, "90000000009", 77)]
        seen = evidence_of(link.send(HELLO_TEXT, OURS))
        assert (seen.verdict, seen.tied_by) == (Verdict.SENT, "chat")
        assert "custom_msg_id" not in bridge.told("sendMsg")[0]["data"]

    def test_second_send_to_a_chat_is_refused_where_only_the_chat_tells(
        self, worker: Worker, bridge: WellBehavedBridge
    ) -> None:
        link = worker.ready_link(bridge.url)
        assert link.one_send_per_chat
        with link.send(HELLO_TEXT, OURS) as first:
            eventually(lambda: first.written)
            second = link.send(HELLO_TEXT, "10000000002")
            assert not evidence_of(second).written
            assert "another send to group 389284 is under way" in (second.refusal or "")

    @pytest.mark.parametrize(("confirm", "answers"), [("reply", True), ("write", False)])
    def test_less_proof_may_do(self, worker: Worker, bridge: WellBehavedBridge, confirm: Any, answers: bool) -> None:
        link = worker.ready_link(bridge.url, confirm=confirm)
        bridge.answer = lambda frame: [{"id": frame["id"], "type": "sendMsg", "data": "success"}] if answers else []
        seen = evidence_of(link.send(HELLO_TEXT, OURS))
        assert (seen.written, seen.replied, seen.verdict) == (True, answers, None)

    def test_verdict_may_come_over_the_next_connection(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        call = link.send(HELLO_TEXT, OURS)
        eventually(lambda: bridge.told("sendMsg"))
        bridge.drop()
        eventually(lambda: len(bridge.connections) == 2)
        eventually(lambda: link.ready)
        bridge.say(verdict(1, OURS, 77))
        seen = evidence_of(call)
        assert (seen.verdict, seen.connection_lost) == (Verdict.SENT, True)

    def test_evidence_after_the_deadline_is_reported(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        call = link.send(HELLO_TEXT, OURS)
        eventually(lambda: bridge.told("sendMsg"))
        assert evidence_of(call, 0.01).verdict is None
        bridge.say(verdict(1, OURS, 77))
        eventually(lambda: worker.late)
        assert worker.late == [("main", LateEvidence(OURS, Verdict.SENT, 77, None))]
        assert worker.events == []

    def test_what_the_bridge_knows_of_ids_outlives_the_link(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridge.answer = accept_and_deliver
        bridges = worker.bridges()
        link = bridges.open("main", bridge.url)
        eventually(lambda: link.ready)
        assert link.one_send_per_chat
        evidence_of(link.send(HELLO_TEXT, OURS))
        bridges.close("main")
        assert not bridges.open("main", bridge.url).one_send_per_chat

    def test_a_not_sent_after_the_deadline_is_reported_with_its_attempt(
        self, worker: Worker, bridge: WellBehavedBridge
    ) -> None:
        link = worker.ready_link(bridge.url)
        call = link.send(HELLO_TEXT, OURS, attempt=2)
        eventually(lambda: bridge.told("sendMsg"))
        assert evidence_of(call, 0.01).verdict is None
        bridge.say(verdict(0, OURS))
        eventually(lambda: worker.late)
        assert worker.late == [("main", LateEvidence(OURS, Verdict.NOT_SENT, None, None, 2))]

    def test_after_a_drop_with_sends_under_way_they_go_one_at_a_time(
        self, worker: Worker, bridge: WellBehavedBridge
    ) -> None:
        link = worker.ready_link(bridge.url, match="id")
        with link.send(HELLO_TEXT, OURS):
            eventually(lambda: bridge.told("sendMsg"))
            bridge.drop()
            eventually(lambda: link.ready and link.connections == 2)
            assert link.one_send
            with link.send(HELLO_TEXT, "10000000002"):
                second = link.send(HELLO_TEXT, "10000000003")
                assert not evidence_of(second).written
                assert "the first since the connection was lost" in (second.refusal or "")
                bridge.answer = accept_and_deliver
                with link.call("getGroups") as no_message:
                    eventually(lambda: no_message.written, "the write of what is no message, which is not held up,")
        assert evidence_of(link.send(HELLO_TEXT, "10000000004")).verdict is Verdict.SENT
        eventually(lambda: not link.one_send)


class TestBackOff:
    @pytest.fixture
    def ranges(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The ranges of which the pauses are drawn, each of which is none here."""
        drawn: list[float] = []

        def uniform(low: float, high: float) -> float:
            drawn.append(high)
            return low

        monkeypatch.setattr("random.uniform", uniform)
        return drawn

    def drop_four(self, link: Link, bridge: WellBehavedBridge) -> None:
        for _ in range(4):
            eventually(lambda: link.ready)
            drops = link.counters["connection_drops"]
            bridge.drop()
            eventually(lambda: link.counters["connection_drops"] > drops)  # noqa: B023 - asked within the round
        eventually(lambda: link.ready)

    def test_hello_and_a_login_alone_do_not_end_it(
        self, worker: Worker, bridge: WellBehavedBridge, ranges: list[float]
    ) -> None:
        self.drop_four(worker.link(bridge.url, backoff_base=1.0, backoff_cap=6.0, held=3600.0), bridge)
        assert ranges == [1.0, 2.0, 4.0, 6.0]

    def test_a_connection_that_held_does(self, worker: Worker, bridge: WellBehavedBridge, ranges: list[float]) -> None:
        self.drop_four(worker.link(bridge.url, backoff_base=1.0, backoff_cap=6.0, held=0.0), bridge)
        assert ranges == [1.0] * 4


class TestFaultsOfOurOwn:
    """Whatever one session raises, and wherever, costs it its connection, and the others nothing."""

    @pytest.fixture(autouse=True)
    def soon_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runner_module, "REST_SECONDS", 0.01)

    @pytest.mark.parametrize("error", [ValueError, SystemExit])
    @pytest.mark.parametrize("where", ["on_ready", "on_time", "next_due", "has_more", "submit", "_drop", "state"])
    def test_a_fault_even_in_starting_over(
        self,
        worker: Worker,
        bridge: WellBehavedBridge,
        monkeypatch: pytest.MonkeyPatch,
        where: str,
        error: type[BaseException],
    ) -> None:
        other_bridge = WellBehavedBridge()
        # The bridge says once that it is logged in, which must not grow old while a busy machine starts the session over.
        bridges = worker.bridges(quiet_until_ping=0.05, login=3600.0)
        broken, other = bridges.open("main", bridge.url), bridges.open("other", other_bridge.url)
        eventually(lambda: broken.ready and other.ready and other.api_url)
        faults = {where: Fault(error), "fail": Fault(error, times=3)}

        class Breaks(Session):
            """Raises at these places, as often as the faults are there, and then goes on as it should."""

            def __getattribute__(self, name: str) -> Any:
                value = super().__getattribute__(name)
                fault = faults.get(name)
                if fault is None:
                    return value
                return fault.then(value) if callable(value) else fault.then(lambda: value)()

        monkeypatch.setattr(broken.session, "__class__", Breaks)
        broken.call("getGroups")
        if where == "_drop":
            bridge.drop()
        else:
            bridge.say(LOGIN)
        eventually(lambda: not any(fault.times for fault in faults.values()))
        assert other.ready
        assert other.connections == 1
        eventually(lambda: broken.ready and broken.connections == 2)
        other_bridge.answer = bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": []}]
        assert evidence_of(other.call("getGroups")).replied
        assert evidence_of(broken.call("getGroups")).replied
        bridges.stop()
        other_bridge.stop()

    def test_a_fault_in_closing_ends_only_that_session(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridges = worker.bridges()
        links = [bridges.open(account, bridge.url) for account in ("a", "b", "c")]
        eventually(lambda: all(link.ready for link in links))
        whole = links[1].session.close
        links[1].session.close = links[1].session.fail = Fault(ValueError, times=2).then(whole)  # type: ignore[method-assign]
        bridges.close("b")
        bridges.stop()
        assert [link.why_not_ready for link in (links[0], links[2])] == ["the link is closed"] * 2
        whole()


class Fault:
    def __init__(self, error: type[BaseException], times: int = 1) -> None:
        self.error, self.times = error, times

    def then(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the step as it is with this fault."""

        def go(*given: Any) -> Any:
            if self.times:
                self.times -= 1
                raise self.error("on purpose")
            return step(*given)

        return go


class TestEvents:
    def test_event_is_passed_on_as_it_came(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        worker.ready_link(bridge.url)
        event = {"operator": "groupUpdate", "data": {"type": "group", "id": 1, "values": {"name": "新"}}}
        bridge.say(event)
        eventually(lambda: worker.events)
        ((account, operator, raw),) = worker.events
        assert (account, operator, json.loads(raw)) == ("main", "groupUpdate", event)

    def test_malformed_messages_are_counted_and_harm_nobody(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        for garbage in ("", "[]", "nonsense", '{"operator":"network"}'):
            bridge.say(garbage)
        eventually(lambda: link.counters["malformed"] == 4)
        assert link.ready
        assert link.counters["connection_drops"] == 0


class TestTheEnd:
    def test_close_ends_waits_and_writes_no_more(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridges = worker.bridges()
        link = bridges.open("main", bridge.url)
        eventually(lambda: link.ready)
        call = link.send(HELLO_TEXT, OURS)
        eventually(lambda: bridge.told("sendMsg"))
        bridges.close("main")
        assert call.over
        seen = evidence_of(call)
        assert (seen.written, seen.connection_lost) == (True, True)
        after = link.call("getGroups")
        assert not evidence_of(after).written
        assert after.refusal == link.why_not_ready == "the link is closed"
        bridges.close("main")

    def test_what_came_in_before_the_close_is_heard(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridges = worker.bridges()
        link = bridges.open("main", bridge.url)
        eventually(lambda: link.ready)
        call = link.send(HELLO_TEXT, OURS)
        eventually(lambda: bridge.told("sendMsg"))
        bridge.say(verdict(1, OURS, 77))
        let_arrive(link)
        bridges.close("main")
        assert evidence_of(call).verdict is Verdict.SENT

    def test_what_came_in_while_the_process_stood_still_is_heard_before_the_silence_is_judged(
        self, worker: Worker, bridge: WellBehavedBridge
    ) -> None:
        link = worker.link(bridge.url, quiet_until_ping=3600.0, quiet_until_drop=3600.0)
        eventually(lambda: link.ready and link.api_url)
        bridge.say({"operator": "while it stood still", "data": {}})
        let_arrive(link)
        link.session._health.note_heard(-10_000.0)
        link._runner.step(link.session.on_time)
        assert (link.connections, link.counters["connection_drops"]) == (1, 0)
        assert [operator for _, operator, _ in worker.events] == ["while it stood still"]

    def test_stop_ends_every_wait(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        bridges = worker.bridges()
        link = bridges.open("main", bridge.url)
        eventually(lambda: link.ready)
        calls = [link.call("getGroups"), link.call("restart68")]
        eventually(lambda: all(call.written for call in calls))

        async def stop_under_waits() -> list[Evidence]:
            waits = [asyncio.create_task(call.wait(Deadline.after(3600))) for call in calls]
            await asyncio.sleep(0)  # they wait
            bridges.stop()
            return await asyncio.wait_for(asyncio.gather(*waits), PATIENCE_SECONDS)

        assert [(seen.written, seen.replied) for seen in run(stop_under_waits())] == [(True, False)] * 2
        assert not evidence_of(link.call("getGroups")).written
        assert not evidence_of(link.send(HELLO_TEXT, OURS)).written
        bridges.close("main")
        assert not bridges.open("other", bridge.url).ready
        bridges.stop()

    def test_stop_while_nothing_was_reached(self, worker: Worker) -> None:
        bridges = worker.bridges()
        link = bridges.open("main", "ws://127.0.0.1:1")
        bridges.stop()
        assert link.why_not_ready == "the link is closed"

    def test_a_link_that_was_closed_on_purpose_is_not_told_as_trouble(
        self, worker: Worker, bridge: WellBehavedBridge
    ) -> None:
        bridges = worker.bridges()
        links = [bridges.open(account, bridge.url) for account in ("main", "other")]
        eventually(lambda: all(link.ready and link.api_url for link in links))
        with capture_logs() as logs:
            bridges.close("main")
            bridges.stop()
        assert [line["event"] for line in logs] == ["bridge_connection_lost"] * 2
        assert {line["log_level"] for line in logs} == {"info"}
