"""Calls are written in the order in which they were made, as far as each may be; what the bridge says ends the right one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.bridge.conftest import CHAT, MakeTalk, Talk
from worker68.bridge.calls import Call
from worker68.jobs.evidence import BridgeError, Verdict

NOW = 1000.0
OURS, OURS_TOO = "10000000001", "10000000002"

#: More than the buffers of a socket hold.
LARGE = "x" * 2_000_000


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]


def answer(talk: Talk, call: Call, **answer: Any) -> None:
    talk.hear({"id": call.pending.request_id, "type": "any", "data": None} | answer)


def verdict(custom_msg_id: str, status: int = 1) -> dict[str, Any]:
    entry = {"customMsgId": custom_msg_id, "updated": {"readStatus": status, "MsgID": 77}}
    return {"operator": "msgListPropertyUpdate", "data": {"id": CHAT.id, "type": CHAT.type, "list": [entry]}}


class TestWriting:
    def test_each_is_written_once_in_the_order_in_which_they_were_made(self, talk: Talk) -> None:
        calls = [talk.call(kind) for kind in ("a", "b", "c")]
        assert not any(call.written for call in calls)
        assert kinds(talk.write()) == ["a", "b", "c"]
        assert all(call.written and call.pending.written_whole for call in calls)
        assert (talk.write(), talk.exchange.tally["messages_out"]) == ([], 3)

    def test_what_is_held_lets_the_others_pass_until_its_time(self, talk: Talk) -> None:
        opens = {"late": NOW + 2, "early": NOW + 1, "never": NOW + 60}

        def guard(kind: str) -> Any:
            return lambda: opens.get(kind)

        held, *_ = (talk.call(kind, guard=guard(kind)) for kind in (*opens, "free"))
        assert kinds(talk.write(NOW)) == ["free"]
        assert talk.exchange.held_until == NOW + 1
        assert held.held_since == NOW
        del opens["early"]
        assert kinds(talk.write(NOW + 1)) == ["early"]
        assert talk.exchange.held_until == NOW + 2
        del opens["late"]
        assert kinds(talk.write(NOW + 2)) == ["late"]
        assert (talk.exchange.held_until, held.held_since) == (NOW + 60, NOW)

    def test_what_is_refused_is_over_without_a_byte_and_the_next_one_goes(self, talk: Talk) -> None:
        refused = talk.call("a", guard=lambda: "paused")
        talk.call("b")
        assert kinds(talk.write()) == ["b"]
        assert (refused.over, refused.written, refused.refusal) == (True, False, "paused")
        assert talk.exchange.tally["calls_refused"] == 1

    def test_a_connection_that_is_not_ready_is_asked_before_the_guard(self, talk: Talk) -> None:
        call = talk.call("a", guard=lambda: pytest.fail("its guard was asked"))
        talk.not_ready = lambda call: "logged out"
        assert talk.write() == []
        assert call.refusal == "logged out"

    def test_the_accounts_guard_is_for_calls_without_their_own(self, make_talk: MakeTalk) -> None:
        talk = make_talk(guard=lambda: "paused")
        refused = talk.call("a")
        talk.call("b", guard=lambda: None)
        assert kinds(talk.write()) == ["b"]
        assert refused.refusal == "paused"

    def test_a_guard_that_fails_refuses_its_call_alone(self, talk: Talk) -> None:
        refused = talk.call("a", guard=lambda: 1 // 0)
        talk.call("b")
        with capture_logs() as logs:
            assert kinds(talk.write()) == ["b"]
        assert [line["event"] for line in logs] == ["bridge_guard_failed"]
        assert "see the log" in (refused.refusal or "")
        assert talk.exchange.tally["callback_errors"] == 1

    def test_while_a_frame_is_half_written_no_other_is_chosen(self, talk: Talk) -> None:
        asked: list[float] = []

        def guard() -> float | None:
            asked.append(NOW)
            return NOW + 1 if len(asked) == 1 else None

        held, large = talk.call("held", guard=guard), talk.call("large", LARGE)
        for _ in range(3):
            talk.exchange.write(talk.connection, NOW + 1, talk.not_ready)
        assert (large.written, large.pending.written_whole, held.written) == (True, False, False)
        assert len(asked) == 1
        assert talk.exchange.held_until == math.inf, "it waits for the socket, not for a time"
        seen: list[dict[str, Any]] = []
        while len(seen) < 2:
            seen += talk.write(NOW + 1)
        assert kinds(seen) == ["large", "held"]
        assert large.pending.written_whole

    def test_a_message_that_needs_no_answer_is_over_with_its_last_byte(self, talk: Talk) -> None:
        call = talk.send(OURS, confirm="write")
        assert not call.over
        talk.write()
        assert (call.over, call.refusal) == (True, None)


class TestRefusedAtOnce:
    def test_more_calls_than_may_be_under_way(self, make_talk: MakeTalk) -> None:
        talk = make_talk(max_pending=2)
        calls = [talk.call(kind) for kind in ("a", "b", "c")]
        assert [call.over for call in calls] == [False, False, True]
        assert "2 calls of this account" in (calls[2].refusal or "")
        assert kinds(talk.write()) == ["a", "b"]
        answer(talk, calls[0])
        assert not talk.call("d").over, "there is room again"

    def test_a_second_send_with_the_same_id_leaves_the_first_alone(self, talk: Talk) -> None:
        first, second = talk.send(OURS), talk.send(OURS)
        assert (first.over, second.over) == (False, True)
        talk.write()
        talk.hear(verdict(OURS))
        assert first.pending.evidence.verdict is Verdict.SENT


class TestGivingUp:
    def test_what_was_not_written_never_is(self, talk: Talk) -> None:
        call = talk.call("a")
        call.close()
        assert (talk.write(), call.refusal) == ([], "given up before a byte was written")
        assert talk.exchange.tally["calls_withdrawn"] == 1

    def test_what_was_written_is_no_refusal_and_its_answer_comes_late(self, talk: Talk) -> None:
        call = talk.call("a")
        talk.write()
        for _ in range(2):
            call.close()
        assert (call.over, call.refusal) == (True, None)
        answer(talk, call)
        tally = talk.exchange.tally
        assert (tally["calls_withdrawn"], tally["late_replies"]) == (0, 1)

    def test_at_the_end_all_are_over(self, talk: Talk) -> None:
        written = talk.call("a")
        talk.write()
        calls = [written, talk.call("b"), talk.send(OURS)]
        talk.exchange.end_all()
        assert all(call.over for call in calls)
        assert talk.write() == []


class TestLoss:
    def test_of_what_was_written_only_messages_wait_on_and_nothing_else_is_written(self, talk: Talk) -> None:
        call, send = talk.call("a"), talk.send(OURS)
        talk.write()
        unwritten, held = talk.call("b"), talk.call("c", guard=lambda: NOW + 60)
        talk.exchange.lose_connection(NOW, "closed by the bridge")
        assert (call.over, call.refusal, call.pending.evidence.connection_lost) == (True, None, True)
        for one in (unwritten, held):
            assert one.refusal == "the connection was lost before the write: closed by the bridge"
        assert not send.over
        talk.hear(verdict(OURS))
        assert (send.over, send.pending.evidence.verdict) == (True, Verdict.SENT)

    def test_a_frame_that_was_cut_is_not_taken_for_written_by_the_next_connection(self, talk: Talk) -> None:
        cut = talk.send(OURS, confirm="write")
        cut.frame = b'"%s"' % LARGE.encode()
        talk.exchange.write(talk.connection, NOW, talk.not_ready)
        assert not cut.pending.written_whole
        talk.close()
        talk.exchange.lose_connection(NOW, "closed by the bridge")
        talk.connect()
        talk.call("next")
        assert kinds(talk.write()) == ["next"]
        assert (cut.over, cut.pending.written_whole) == (False, False)

    def test_what_was_held_is_not_looked_at_by_time_any_more(self, talk: Talk) -> None:
        talk.call("a", guard=lambda: NOW + 1)
        talk.write(NOW)
        talk.exchange.lose_connection(NOW, "closed by the bridge")
        assert talk.exchange.held_until == math.inf


class TestWhatTheBridgeSays:
    def test_an_answer_ends_its_call_and_no_other(self, talk: Talk) -> None:
        first, second = talk.call("a"), talk.call("b")
        talk.write()
        answer(talk, second, data=[1, 2])
        assert (first.over, second.over, second.pending.evidence.data) == (False, True, [1, 2])

    def test_an_error_is_reported_at_once_with_the_guard_of_its_call(self, make_talk: MakeTalk) -> None:
        reported: list[object] = []
        talk = make_talk(on_error=lambda *about: reported.append(about))

        def guard() -> None:
            return None

        call, send = talk.call("a", guard=guard), talk.send(OURS)
        talk.write()
        for one in (call, send):
            answer(talk, one, error={"errorCode": 300})
        assert reported == [(guard, BridgeError(300, "")), (None, BridgeError(300, ""))]
        assert (call.over, send.over) == (True, False)

    def test_evidence_for_which_no_call_waits_and_events_are_passed_on(self, talk: Talk) -> None:
        call = talk.send(OURS)
        talk.write()
        call.close()
        talk.hear(verdict(OURS))
        talk.hear({"operator": "groupUpdate", "data": {}})
        assert [(late.custom_msg_id, late.verdict) for late in talk.late] == [(OURS, Verdict.SENT)]
        assert talk.events == ["groupUpdate"]

    def test_a_callback_that_fails_is_counted_and_costs_nothing_else(self, make_talk: MakeTalk) -> None:
        talk = make_talk(on_error=lambda guard, error: 1 // 0)
        call, send = talk.call("a"), talk.send(OURS_TOO)
        talk.write()
        with capture_logs() as logs:
            answer(talk, call, error={"errorCode": 300})
        assert [line["event"] for line in logs] == ["bridge_callback_failed"]
        assert (call.over, talk.exchange.tally["callback_errors"]) == (True, 1)
        talk.hear(verdict(OURS_TOO))
        assert send.over
