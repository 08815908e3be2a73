"""What the bridge says finds the call it belongs to, and nothing else."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from worker68.bridge.calls import NOT_SENT_COMES_WITHIN_SECONDS, Pending, SendTerms
from worker68.bridge.correlation import Correlation, CorrelationEvent, ErrorReply, LateEvidence, Match, Refused, Settled
from worker68.bridge.frames import Event, Sightings, decode
from worker68.bridge.tally import Tally
from worker68.jobs.evidence import NOT_SENT_CREDIBLE_SECONDS, BridgeError, Confirm, Verdict
from worker68.jobs.fields import Chat

GROUP, OTHER = Chat("group", 389284), Chat("friend", 4008697)
OURS, OURS_TOO, FOREIGN = "10000000001", "10000000002", "90000000009"
NOW = 1000.0


@dataclass
class Scene:
    """A correlation, and what a connection does with it."""

    match: Match = "auto"
    max_pending: int = 8
    tally: Tally = field(default_factory=Tally)
    since: float = 0.0

    def __post_init__(self) -> None:
        self.correlation = Correlation(self.match, self.tally, max_pending=self.max_pending, since=self.since)
        self._numbers = itertools.count(1)

    def call(self) -> Pending:
        return self._write(Pending(f"r{next(self._numbers)}"))

    def send(
        self,
        custom_msg_id: str = OURS,
        chat: Chat = GROUP,
        text: str = "hello",
        confirm: Confirm = "verdict",
        after: float = 0.0,
        again: bool = True,
    ) -> Pending:
        terms = SendTerms(custom_msg_id, chat, frozenset({text}), confirm, attempt=3, again=again)
        return self._write(Pending(f"r{next(self._numbers)}", terms), after)

    def _write(self, pending: Pending, after: float = 0.0) -> Pending:
        self.correlation.add(pending)
        self.correlation.note_written(pending, NOW + after)
        return pending

    def hear(self, frame: Any, after: float = 1.0) -> list[CorrelationEvent]:
        return self.hear_raw(json.dumps(frame).encode(), after)

    def hear_raw(self, raw: bytes, after: float = 0.0) -> list[CorrelationEvent]:
        return self.correlation.receive(decode(raw), NOW + after)

    def lose(self, after: float = 1.0) -> list[CorrelationEvent]:
        return self.correlation.note_connection_lost(NOW + after)

    def one_send(self) -> bool:
        return self.correlation.one_send

    def counted(self) -> dict[str, int]:
        return {kind: count for kind, count in self.tally.items() if count}


def verdict(status: int, custom_msg_id: str | None = OURS, chat: Chat = GROUP, message_id: int | None = 77) -> Any:
    updated = {"readStatus": status} | ({"MsgID": message_id, "time": "1766222907461"} if status > 0 else {})
    entry = {"customMsgId": custom_msg_id, "updated": updated}
    return {"operator": "msgListPropertyUpdate", "data": {"id": chat.id, "type": chat.type, "list": [entry]}}


def echo(custom_msg_id: str = OURS, chat: Chat = GROUP, text: str = "hello", message_id: int | None = 77) -> Any:
    data = {"id": chat.id, "type": chat.type, "isSelf": True, "content": text, "customMsgId": custom_msg_id}
    return {"operator": "msgNew", "data": data | ({} if message_id is None else {"MsgID": message_id})}


def notice(code: int = 5114, chat: Chat = OTHER) -> Any:
    data = {"chatType": 52, "id": chat.id, "type": chat.type, "errorType": code, "errMsg": "no", "customMsgId": FOREIGN}
    return {"operator": "msgNew", "operatorType": "notification", "data": data}


def reply(pending: Pending, **rest: Any) -> Any:
    return {"id": pending.request_id, "type": "sendMsg"} | rest


def settled(pending: Pending) -> list[CorrelationEvent]:
    return [Settled(pending)]


class TestPlainCall:
    def test_reply_settles_it(self) -> None:
        scene = Scene()
        call = scene.call()
        assert scene.hear(reply(call, data={"a": 1})) == settled(call)
        assert (call.evidence.written, call.evidence.replied, call.evidence.data) == (True, True, {"a": 1})

    def test_error_settles_it(self) -> None:
        scene = Scene()
        call = scene.call()
        refused = ErrorReply(call, BridgeError(403, "no"))
        assert scene.hear(reply(call, error={"errorCode": 403, "errorDesc": "no"})) == [refused, *settled(call)]
        assert call.evidence.error == BridgeError(403, "no")

    def test_a_reply_that_cannot_be_read_is_a_refusal_that_says_what_was_seen(self) -> None:
        scene = Scene()
        call = scene.call()
        raw = b'{"id":"' + call.request_id.encode() + b'","data":{"x":tru}}'
        error = BridgeError(None, f"its reply cannot be read: {raw.decode()}")
        assert scene.hear_raw(raw) == [ErrorReply(call, error), *settled(call)]
        assert call.evidence.error == error
        assert scene.counted() == {"malformed": 1}

    def test_but_to_a_send_it_says_nothing(self) -> None:
        scene = Scene()
        send = scene.send(confirm="reply")
        assert scene.hear_raw(b'{"id":"' + send.request_id.encode() + b'","data":{"x":tru}}') == []
        assert not send.evidence.replied
        assert scene.hear(verdict(1)) == settled(send)

    def test_an_error_is_reported_before_it_settles(self) -> None:
        scene = Scene()
        call = scene.call()
        assert scene.hear(reply(call, error={"errorCode": "300"})) == [
            ErrorReply(call, BridgeError(300, "")),
            *settled(call),
        ]

    def test_lost_connection_ends_it(self) -> None:
        scene = Scene()
        call = scene.call()
        assert scene.lose() == settled(call)
        assert call.evidence.connection_lost

    def test_lost_connection_leaves_what_was_not_written(self) -> None:
        scene = Scene()
        waiting = Pending("r0")
        scene.correlation.add(waiting)
        assert scene.lose() == []
        assert not waiting.evidence.connection_lost

    def test_late_double_and_unknown_replies_are_told_apart(self) -> None:
        scene = Scene()
        answered, given_up = scene.call(), scene.call()
        scene.hear(reply(answered))
        scene.correlation.end(given_up)
        for frame in (reply(answered), reply(given_up), {"id": "nobody", "type": "request"}):
            assert scene.hear(frame) == []
        assert scene.counted() == {"double_replies": 1, "late_replies": 1, "unknown_replies": 1}

    def test_reply_before_the_write_is_not_ours(self) -> None:
        scene = Scene()
        waiting = Pending("r0")
        scene.correlation.add(waiting)
        assert scene.hear(reply(waiting)) == []
        assert scene.counted() == {"unknown_replies": 1}

    def test_number_of_calls_is_bounded(self) -> None:
        scene = Scene(max_pending=2)
        first = scene.call()
        scene.call()
        with pytest.raises(Refused, match="2 calls"):
            scene.call()
        scene.correlation.end(first)
        scene.call()


class TestById:
    @pytest.mark.parametrize("status", [1, 2])
    def test_sent_settles(self, status: int) -> None:
        scene = Scene("id")
        send = scene.send()
        assert scene.hear(verdict(status), after=2.0) == settled(send)
        seen = send.evidence
        assert (seen.verdict, seen.verdict_seconds, seen.tied_by, seen.message_id) == (status, 2.0, "id", 77)
        assert seen.sent_at is not None

    def test_own_message_with_a_server_id_settles(self) -> None:
        scene = Scene("id")
        send = scene.send()
        assert scene.hear(echo()) == settled(send)
        assert (send.evidence.echo, send.evidence.tied_by, send.evidence.message_id) == (True, "id", 77)

    def test_own_message_without_a_server_id_does_not(self) -> None:
        scene = Scene("id")
        send = scene.send()
        assert scene.hear(echo(message_id=None)) == []
        assert not send.evidence.echo
        assert send.evidence.taken
        assert scene.counted() == {}

    def test_pending_says_that_the_client_has_taken_it(self) -> None:
        scene = Scene("id")
        send = scene.send()
        assert not send.evidence.taken
        assert scene.hear(verdict(-1)) == []
        assert (send.evidence.verdict, send.evidence.taken) == (None, True)

    def test_what_was_said_before_the_write_is_of_another_attempt(self) -> None:
        scene = Scene("id")
        pending = Pending("r1", SendTerms(OURS, GROUP, frozenset(), "verdict"))
        scene.correlation.add(pending)
        scene.hear(echo(message_id=None))
        assert not pending.evidence.taken

    def test_not_sent_in_time_settles(self) -> None:
        scene = Scene("id")
        send = scene.send()
        assert scene.hear(verdict(0), after=NOT_SENT_CREDIBLE_SECONDS) == settled(send)
        assert send.evidence.verdict is Verdict.NOT_SENT

    def test_not_sent_too_late_is_kept_until_a_sent_replaces_it(self) -> None:
        scene = Scene("id")
        send = scene.send()
        assert scene.hear(verdict(0), after=15.0) == []
        assert (send.evidence.verdict, send.evidence.verdict_seconds) == (Verdict.NOT_SENT, 15.0)
        assert scene.hear(verdict(1), after=16.0) == settled(send)
        assert (send.evidence.verdict, send.evidence.verdict_seconds) == (Verdict.SENT, 16.0)

    def test_verdict_of_another_chat_counts_by_its_id(self) -> None:
        scene = Scene("id")
        send = scene.send()
        assert scene.hear(verdict(1, chat=OTHER)) == settled(send)

    def test_foreign_verdict_in_the_chat_does_not_count(self) -> None:
        scene = Scene("id")
        send = scene.send()
        scene.hear(verdict(1, FOREIGN))
        scene.hear(echo(FOREIGN))
        assert not send.settled

    def test_one_frame_settles_several(self) -> None:
        scene = Scene("id")
        first, second = scene.send(), scene.send(OURS_TOO)
        frame = verdict(1)
        frame["data"]["list"] += verdict(1, OURS_TOO)["data"]["list"]
        assert scene.hear(frame) == [Settled(first), Settled(second)]

    def test_frame_that_is_not_only_ours_is_an_event_too(self) -> None:
        scene = Scene("id")
        send = scene.send()
        frame = verdict(1)
        frame["data"]["list"] += verdict(0, FOREIGN)["data"]["list"]
        events = scene.hear(frame)
        assert events[0] == Settled(send)
        assert isinstance(events[1], Event)

    def test_same_id_twice_is_refused(self) -> None:
        scene = Scene("id")
        scene.send()
        with pytest.raises(Refused, match=OURS):
            scene.send()

    def test_proof_from_an_earlier_attempt_counts_before_the_write(self) -> None:
        scene = Scene("id")
        again = Pending("r0", SendTerms(OURS, GROUP, frozenset({"hello"}), "verdict"))
        scene.correlation.add(again)
        assert scene.hear(verdict(0)) == []
        assert again.evidence.verdict is None
        assert scene.hear(verdict(1)) == settled(again)
        assert (again.evidence.written, again.evidence.verdict_seconds) == (False, None)


class TestReplyToASend:
    @pytest.mark.parametrize("rest", [{"data": "success"}, {"error": {"errorCode": 403}}])
    def test_it_never_settles_a_send_that_wants_a_verdict(self, rest: Any) -> None:
        scene = Scene()
        send = scene.send()
        assert [event for event in scene.hear(reply(send, **rest)) if not isinstance(event, ErrorReply)] == []
        assert send.evidence.replied
        assert scene.hear(verdict(1)) == settled(send)

    def test_it_settles_one_that_wants_a_reply(self) -> None:
        scene = Scene()
        send = scene.send(confirm="reply")
        assert scene.hear(reply(send, data="success")) == settled(send)

    def test_an_error_settles_none_for_the_message_may_be_seen_all_the_same(self) -> None:
        scene = Scene()
        send = scene.send(confirm="reply")
        error = {"errorCode": 300}
        assert scene.hear(reply(send, error=error)) == [ErrorReply(send, BridgeError(300, ""))]
        assert scene.hear(verdict(1)) == settled(send)

    def test_busy_is_told_at_once_though_the_verdict_is_waited_for(self) -> None:
        scene = Scene()
        send = scene.send()
        assert scene.hear(reply(send, error={"errorCode": 300})) == [ErrorReply(send, BridgeError(300, ""))]

    def test_a_not_sent_may_be_of_the_attempt_before_as_long_as_that_may_get_one(self) -> None:
        """The message of the second attempt may have been sent all the same."""
        scene = Scene()
        first = scene.send()
        scene.hear(reply(first, error={"errorCode": 300}))
        scene.correlation.end(first)
        second = scene.send(after=8.0)
        assert scene.hear(verdict(0), after=15.0) == []
        assert not second.evidence.credibly_not_sent
        assert scene.hear(verdict(1), after=16.0) == settled(second)

    def test_later_it_is_of_the_last_attempt(self) -> None:
        scene = Scene()
        scene.correlation.end(scene.send())
        second = scene.send(after=NOT_SENT_COMES_WITHIN_SECONDS)
        assert scene.hear(verdict(0), after=NOT_SENT_COMES_WITHIN_SECONDS + 1.0) == settled(second)
        assert second.evidence.credibly_not_sent

    @pytest.mark.parametrize("again", [True, False])
    def test_a_not_sent_may_be_of_an_attempt_that_another_owner_wrote(self, again: bool) -> None:
        """The earlier attempt is unknown here: its owner has ended, or its link was opened anew."""
        scene = Scene(since=NOW - 1.0)
        send = scene.send(again=again)
        assert scene.hear(verdict(0), after=8.0) == ([] if again else settled(send))
        assert send.evidence.credibly_not_sent is not again

    def test_once_none_of_another_owner_is_left_it_is_of_the_last_attempt(self) -> None:
        scene = Scene(since=NOW - NOT_SENT_COMES_WITHIN_SECONDS)
        send = scene.send(again=True)
        assert scene.hear(verdict(0), after=1.0) == settled(send)

    def test_the_last_byte_settles_one_that_wants_the_write(self) -> None:
        scene = Scene()
        send, other = scene.send(confirm="write"), scene.send(OURS_TOO, OTHER)
        assert scene.correlation.note_written_whole(send) == settled(send)
        assert scene.correlation.note_written_whole(other) == []

    @pytest.mark.parametrize("whole", [True, False])
    def test_the_end_shows_whether_the_last_byte_has_left(self, whole: bool) -> None:
        scene = Scene()
        send = scene.send()
        if whole:
            scene.correlation.note_written_whole(send)
        scene.correlation.end(send)
        assert send.evidence.cut is not whole

    def test_send_outlives_its_connection(self) -> None:
        scene = Scene()
        send = scene.send()
        assert scene.lose() == []
        assert send.evidence.connection_lost
        assert scene.hear(verdict(1)) == settled(send)


class TestRefusalInAChat:
    """It names no message: it is about the only send under way there."""

    @pytest.mark.parametrize("code", [5113, 5114])
    def test_a_friends_refusal_settles_the_only_send(self, code: int) -> None:
        scene = Scene("id")
        elsewhere, send = scene.send(), scene.send(OURS_TOO, OTHER)
        event, *rest = scene.hear(notice(code))
        assert isinstance(event, Event)
        assert rest == settled(send)
        assert send.evidence.notice == BridgeError(code, "no")
        assert elsewhere.evidence.notice is None

    def test_of_two_sends_it_is_about_neither(self) -> None:
        scene = Scene("id")
        sends = [scene.send(chat=OTHER), scene.send(OURS_TOO, OTHER)]
        assert [type(event) for event in scene.hear(notice())] == [Event]
        assert [send.evidence.notice for send in sends] == [None, None]
        assert scene.counted() == {"unknown_evidence": 1}

    def test_one_that_is_not_written_is_not_under_way(self) -> None:
        scene = Scene("id")
        waiting = Pending("r1", SendTerms(OURS, OTHER, frozenset(), "verdict"))
        scene.correlation.add(waiting)
        assert [type(event) for event in scene.hear(notice())] == [Event]
        send = scene.send(OURS_TOO, OTHER)
        assert settled(send)[0] in scene.hear(notice())
        assert waiting.evidence.notice is None

    def test_nor_is_one_that_is_over(self) -> None:
        scene = Scene("id")
        send = scene.send(chat=OTHER)
        scene.hear(verdict(1, chat=OTHER))
        assert [type(event) for event in scene.hear(notice())] == [Event]
        assert send.evidence.notice is None

    def test_a_sent_that_comes_after_it_is_reported(self) -> None:
        scene = Scene("id")
        scene.send(chat=OTHER)
        scene.hear(notice())
        assert scene.hear(verdict(0, chat=OTHER), after=15.0) == []
        (late,) = scene.hear(verdict(1, chat=OTHER), after=16.0)
        assert isinstance(late, LateEvidence)
        assert late.verdict is Verdict.SENT

    @pytest.mark.parametrize("code", [1021, 1022])
    def test_what_a_group_says_waits_for_the_verdict(self, code: int) -> None:
        scene = Scene("id")
        send = scene.send()
        assert [type(event) for event in scene.hear(notice(code, GROUP))] == [Event]
        assert scene.hear(verdict(0)) == settled(send)
        assert send.evidence.refused_by_group == code

    def test_a_verdict_may_say_it_itself(self) -> None:
        scene = Scene("id")
        send = scene.send()
        said = verdict(0)
        said["data"]["list"][0]["updated"]["errorType"] = 1021
        assert scene.hear(said) == settled(send)
        assert send.evidence.refused_by_group == 1021


class TestByChat:
    def test_id_is_not_written(self) -> None:
        assert not Scene("chat").correlation.writes_ids
        assert Scene("auto").correlation.writes_ids

    @pytest.mark.parametrize("frame", [verdict(1, FOREIGN), verdict(1, None), echo(FOREIGN)])
    def test_verdict_or_own_message_in_the_chat_settles(self, frame: Any) -> None:
        scene = Scene("chat")
        send = scene.send()
        assert scene.hear(frame) == settled(send)
        assert send.evidence.tied_by == "chat"

    def test_other_chats_do_not_count(self) -> None:
        scene = Scene("chat")
        send = scene.send()
        scene.hear(verdict(1, FOREIGN, OTHER))
        assert not send.settled

    def test_not_sent_never_settles(self) -> None:
        scene = Scene("chat")
        send = scene.send()
        assert scene.hear(verdict(0, FOREIGN)) == []
        assert (send.evidence.verdict, send.evidence.tied_by) == (Verdict.NOT_SENT, "chat")

    def test_second_send_to_the_chat_is_refused(self) -> None:
        scene = Scene("chat")
        assert scene.correlation.one_send_per_chat
        first = scene.send()
        with pytest.raises(Refused, match="group 389284"):
            scene.send(OURS_TOO)
        scene.send(OURS_TOO, OTHER)
        scene.correlation.end(first)
        scene.send("10000000003")

    def test_verdict_before_the_write_does_not_count(self) -> None:
        scene = Scene("chat")
        waiting = Pending("r0", SendTerms(OURS, GROUP, frozenset({"hello"}), "verdict"))
        scene.correlation.add(waiting)
        scene.hear(verdict(1, FOREIGN))
        assert not waiting.settled

    def test_message_seen_before_the_write_is_not_this_send(self) -> None:
        scene = Scene("chat")
        scene.hear(verdict(-1, FOREIGN), after=-5.0)
        send = scene.send()
        scene.hear(verdict(1, FOREIGN))
        assert not send.settled

    def test_late_verdict_of_the_send_before_finds_its_own_job(self) -> None:
        scene = Scene("chat")
        first = scene.send()
        scene.hear(verdict(0, FOREIGN), after=15.0)
        scene.correlation.end(first)
        second = scene.send(OURS_TOO)
        (late,) = scene.hear(verdict(1, FOREIGN), after=40.0)
        assert isinstance(late, LateEvidence)
        assert (late.custom_msg_id, late.message_id) == (OURS, 77)
        assert not second.settled


class TestAuto:
    def test_echo_of_the_same_text_ties_its_id_to_the_send(self) -> None:
        scene = Scene()
        send = scene.send()
        assert scene.hear(echo(FOREIGN)) == settled(send)
        assert (send.evidence.echo, send.evidence.tied_by) == (True, "chat")

    def test_verdict_alone_does_not_count(self) -> None:
        scene = Scene()
        send = scene.send()
        scene.hear(verdict(1, FOREIGN))
        assert not send.settled

    def test_verdict_before_its_echo_counts_once_the_echo_comes(self) -> None:
        scene = Scene()
        send = scene.send()
        scene.hear(verdict(1, FOREIGN), after=2.0)
        assert scene.hear(echo(FOREIGN, message_id=None), after=3.0) == settled(send)
        seen = send.evidence
        assert (seen.verdict, seen.verdict_seconds, seen.tied_by, seen.message_id) == (Verdict.SENT, 2.0, "chat", 77)

    def test_verdict_after_its_echo_counts(self) -> None:
        scene = Scene()
        send = scene.send()
        assert scene.hear(echo(FOREIGN, message_id=None)) == []
        assert scene.hear(verdict(1, FOREIGN)) == settled(send)

    @pytest.mark.parametrize("frame", [echo(FOREIGN, text="something else"), echo(FOREIGN, chat=OTHER)])
    def test_somebody_typing_in_the_client_is_not_us(self, frame: Any) -> None:
        scene = Scene()
        send = scene.send()
        scene.hear(frame)
        scene.hear(verdict(1, FOREIGN))
        assert not send.settled

    @pytest.mark.parametrize(("chat", "maybe"), [(GROUP, True), (OTHER, False)])
    def test_an_own_message_of_another_text_may_be_ours(self, chat: Chat, maybe: bool) -> None:
        """A client may have changed it. With an error reply beside it the send is not to be repeated."""
        scene = Scene()
        send = scene.send()
        scene.hear(echo(FOREIGN, text="something else", chat=chat))
        assert send.evidence.maybe_shown is maybe

    def test_not_sent_by_chat_never_settles(self) -> None:
        scene = Scene()
        send = scene.send()
        scene.hear(echo(FOREIGN, message_id=None))
        assert scene.hear(verdict(0, FOREIGN)) == []
        assert send.evidence.verdict is Verdict.NOT_SENT

    def test_first_id_of_ours_given_back_ends_the_matching_by_chat(self) -> None:
        scene = Scene()
        send = scene.send()
        before = scene.correlation.one_send_per_chat
        scene.hear(verdict(-1))
        assert (before, scene.correlation.one_send_per_chat) == (True, False)
        scene.hear(echo(FOREIGN))
        assert not send.settled
        scene.send(OURS_TOO)

    def test_id_of_an_ended_send_given_back_counts_as_well(self) -> None:
        scene = Scene()
        send = scene.send()
        scene.correlation.end(send)
        scene.hear(verdict(0))
        assert scene.correlation.ids_given_back

    def test_flag_is_taken_over(self) -> None:
        assert not Correlation("auto", Tally(), max_pending=1, ids_given_back=True).one_send_per_chat


class TestLateEvidence:
    @pytest.mark.parametrize("frame", [verdict(1), verdict(2), echo()])
    def test_proof_for_a_send_given_up(self, frame: Any) -> None:
        scene = Scene()
        send = scene.send()
        scene.correlation.end(send)
        (late,) = scene.hear(frame)
        assert isinstance(late, LateEvidence)
        assert (late.custom_msg_id, late.message_id) == (OURS, 77)

    def test_what_is_no_proof_is_not_reported(self) -> None:
        scene = Scene()
        send = scene.send()
        scene.correlation.end(send)
        assert [event for frame in (verdict(-1), echo(message_id=None)) for event in scene.hear(frame)] == []

    def test_a_not_sent_soon_after_the_write_is_reported_once_and_names_its_attempt(self) -> None:
        scene = Scene()
        send = scene.send()
        scene.correlation.end(send)
        expected = LateEvidence(OURS, Verdict.NOT_SENT, None, None, attempt=3)
        assert scene.hear(verdict(0), after=NOT_SENT_CREDIBLE_SECONDS) == [expected]
        assert scene.hear(verdict(0)) == []
        assert [type(event) for event in scene.hear(verdict(1))] == [LateEvidence], "a sent still counts"

    def test_a_not_sent_over_the_next_connection_counts_too(self) -> None:
        scene = Scene()
        send = scene.send()
        scene.lose()
        scene.correlation.end(send)
        assert [type(event) for event in scene.hear(verdict(0))] == [LateEvidence]

    def test_a_not_sent_that_came_later_proves_nothing(self) -> None:
        scene = Scene()
        send = scene.send()
        scene.correlation.end(send)
        assert scene.hear(verdict(0), after=NOT_SENT_CREDIBLE_SECONDS + 0.01) == []
        assert scene.counted() == {"double_evidence": 1}

    @pytest.mark.parametrize("message_id", [77, None])
    def test_nor_does_one_after_a_sent(self, message_id: int | None) -> None:
        scene = Scene()
        send = scene.send()
        scene.correlation.end(send)
        scene.hear(verdict(1, message_id=message_id))
        assert scene.hear(verdict(0)) == []

    def test_nor_one_that_is_tied_by_the_chat_alone(self) -> None:
        scene = Scene("chat")
        send = scene.send()
        scene.hear(verdict(-1, FOREIGN))
        scene.correlation.end(send)
        assert scene.hear(verdict(0, FOREIGN)) == []

    def test_second_proof_of_a_settled_send_is_only_counted(self) -> None:
        scene = Scene()
        scene.send()
        scene.hear(verdict(1))
        assert scene.hear(echo()) == []
        assert scene.hear(verdict(2)) == []
        assert scene.counted() == {"double_evidence": 2}

    def test_sent_after_a_credible_not_sent_is_reported_once(self) -> None:
        scene = Scene()
        scene.send()
        scene.hear(verdict(0))
        assert [type(event) for event in scene.hear(verdict(1))] == [LateEvidence]
        assert scene.hear(echo()) == []

    @pytest.mark.parametrize("custom_msg_id", [FOREIGN, "123456789012"], ids=["eleven digits", "twelve"])
    def test_id_that_may_be_ours_from_before_a_restart_is_reported_and_passed_on(self, custom_msg_id: str) -> None:
        scene = Scene()
        assert [type(event) for event in scene.hear(verdict(1, custom_msg_id))] == [LateEvidence, Event]

    @pytest.mark.parametrize("custom_msg_id", ["1", "00000000001", "1234567890", "1234567890123", "", None])
    def test_id_that_cannot_be_ours_is_only_passed_on(self, custom_msg_id: str | None) -> None:
        scene = Scene()
        assert [type(event) for event in scene.hear(verdict(1, custom_msg_id))] == [Event]


class TestAfterALostConnection:
    """Sends that were under way are left in doubt, or proved late: new ones go one at a time until one of them is proved."""

    def test_new_sends_go_one_at_a_time(self) -> None:
        scene = Scene("id")
        scene.send()
        assert not scene.one_send()
        scene.lose()
        assert scene.one_send()
        scene.send(OURS_TOO, OTHER, after=2.0)
        with pytest.raises(Refused, match="the first since the connection was lost"):
            scene.send("10000000003", after=3.0)
        scene.call()

    def test_also_one_that_is_not_written_yet_keeps_others_waiting(self) -> None:
        scene = Scene("id")
        scene.send()
        scene.lose()
        scene.correlation.add(Pending("r0", SendTerms(OURS_TOO, OTHER, frozenset(), "verdict")))
        with pytest.raises(Refused):
            scene.send("10000000003", after=3.0)

    @pytest.mark.parametrize("frame", [verdict(1, OURS_TOO, OTHER), verdict(0, OURS_TOO, OTHER), echo(OURS_TOO, OTHER)])
    @pytest.mark.parametrize("given_up", [False, True])
    def test_word_of_one_of_them_lets_all_go(self, frame: Any, given_up: bool) -> None:
        scene = Scene("id")
        scene.send()
        scene.lose()
        new = scene.send(OURS_TOO, OTHER, after=2.0)
        if given_up:
            scene.correlation.end(new)
        assert scene.hear(frame, after=3.0)
        assert not scene.one_send()

    @pytest.mark.parametrize("frame", [verdict(1), verdict(1, FOREIGN), verdict(-1, OURS_TOO), verdict(0, OURS_TOO)])
    def test_nothing_else_does(self, frame: Any) -> None:
        """Neither word of a send from before, nor of a foreign one, nor what proves nothing."""
        scene = Scene("id")
        scene.send()
        scene.lose()
        scene.send(OURS_TOO, OTHER, after=2.0)
        scene.hear(frame, after=20.0)
        assert scene.one_send()

    def test_it_holds_over_further_connections(self) -> None:
        scene = Scene("id")
        scene.send()
        scene.lose()
        scene.send(OURS_TOO, OTHER, after=2.0)
        scene.lose(after=3.0)
        with pytest.raises(Refused):
            scene.send("10000000003", after=4.0)
        scene.hear(verdict(1, OURS_TOO, OTHER), after=5.0)
        assert not scene.one_send()

    def test_where_no_send_was_under_way_nothing_waits(self) -> None:
        scene = Scene("id")
        scene.call()
        scene.correlation.add(Pending("r0", SendTerms(OURS, GROUP, frozenset(), "verdict")))
        scene.lose()
        assert not scene.one_send()


def test_malformed_frames_are_counted() -> None:
    scene = Scene()
    assert scene.hear_raw(b"\xff") == []
    frame = verdict(1)
    frame["data"]["list"] = [None, 5]
    scene.hear(frame)
    assert scene.counted() == {"malformed": 3}


# -- any sequence at all

IDS = [OURS, OURS_TOO, FOREIGN, "90000000008"]
TEXTS = ["hello", "bye"]
CHAT = st.sampled_from([GROUP, GROUP, GROUP, OTHER])
STEP = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(IDS[:2]), CHAT, st.sampled_from(TEXTS), st.booleans()),
    st.tuples(st.just("write"), st.integers(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("verdict"), st.sampled_from([-1, 0, 1, 2]), st.sampled_from(IDS), CHAT),
    st.tuples(
        st.just("echo"),
        st.sampled_from(IDS),
        CHAT,
        st.sampled_from(TEXTS),
        st.sampled_from([None, 77]),
    ),
    st.tuples(st.just("reply"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("lost")),
    st.tuples(st.just("noise"), st.binary(max_size=12)),
)


class Witness:
    """Runs steps, keeps a diary, and judges each settlement by the diary alone."""

    def __init__(self, match: Match) -> None:
        self.scene = Scene(match)
        self.match = match
        self.sends: list[Pending] = []
        self.settled: list[Pending] = []
        self.seen: list[tuple[float, str, Any]] = []
        self.clock = 0.0

    def run(self, steps: list[Any]) -> None:
        for name, *rest in steps:
            self.clock += 3.0
            getattr(self, name)(*rest)
            under_way = [send for send in self.sends if send.request_id in self.scene.correlation._calls]
            if self.scene.correlation.one_send_per_chat:
                assert len({send.send.chat for send in under_way if send.send}) == len(under_way)

    def send(self, custom_msg_id: str, chat: Chat, text: str, write: bool) -> None:
        pending = Pending(f"r{len(self.sends)}", SendTerms(custom_msg_id, chat, frozenset({text}), "verdict"))
        try:
            self.scene.correlation.add(pending)
        except Refused:
            return
        self.sends.append(pending)
        if write:
            self.scene.correlation.note_written(pending, NOW + self.clock)

    def write(self, number: int) -> None:
        pending = self._pick(number)
        if pending is not None and pending.written_at is None:
            self.scene.correlation.note_written(pending, NOW + self.clock)

    def end(self, number: int) -> None:
        pending = self._pick(number)
        if pending is not None:
            self.scene.correlation.end(pending)

    def verdict(self, status: int, custom_msg_id: str, chat: Chat) -> None:
        self._hear(verdict(status, custom_msg_id, chat), custom_msg_id, ("verdict", status, chat))

    def echo(self, custom_msg_id: str, chat: Chat, text: str, message_id: int | None) -> None:
        self._hear(echo(custom_msg_id, chat, text, message_id), custom_msg_id, ("echo", message_id, chat, text))

    def reply(self, number: int, good: bool) -> None:
        self._check(self.scene.hear({"id": f"r{number}", "type": "sendMsg"} | ({} if good else {"error": {}})))

    def lost(self) -> None:
        self._check(self.scene.correlation.note_connection_lost(NOW + self.clock))

    def noise(self, raw: bytes) -> None:
        self._check(self.scene.hear_raw(raw, self.clock))

    def _pick(self, number: int) -> Pending | None:
        return self.sends[number] if number < len(self.sends) else None

    def _hear(self, frame: Any, custom_msg_id: str, what: Any) -> None:
        self.seen.append((NOW + self.clock, custom_msg_id, what))
        waiting = [send for send in self.sends if send.request_id in self.scene.correlation._calls]
        events = self.scene.hear(frame, after=self.clock)
        self._check(events)
        if self.match != "chat" and self._proves(what):
            for send in waiting:
                assert send.send is not None
                assert Settled(send) in events or send.send.custom_msg_id != custom_msg_id

    def _check(self, events: list[CorrelationEvent]) -> None:
        for event in events:
            if isinstance(event, Settled):
                assert event.pending not in self.settled
                self.settled.append(event.pending)
                assert self._justified(event.pending)

    def _justified(self, pending: Pending) -> bool:
        send, written_at = pending.send, pending.written_at
        assert send is not None
        ours = [entry for entry in self.seen if entry[1] == send.custom_msg_id]
        if self.match != "chat":
            if any(self._proves(what) for _, _, what in ours):
                return True
            if written_at is not None and any(
                what[:2] == ("verdict", 0) and 0 <= at - written_at <= NOT_SENT_CREDIBLE_SECONDS for at, _, what in ours
            ):
                return True
        if self.match == "id" or written_at is None:
            return False
        after = [entry for entry in self.seen if entry[0] >= written_at and entry[2][2] == send.chat]
        if self.match == "chat":
            return any(self._proves(what) for _, _, what in after)
        echoed = {one for _, one, what in after if what[0] == "echo" and what[3] in send.texts}
        return any(self._proves(what) and one in echoed for _, one, what in after)

    @staticmethod
    def _proves(what: Any) -> bool:
        return what[1] in (1, 2) if what[0] == "verdict" else what[1] is not None


@pytest.mark.parametrize("match", ["id", "chat", "auto"])
@settings(max_examples=300)
@given(steps=st.lists(STEP, min_size=2, max_size=30))
def test_no_sequence_raises_or_settles_wrongly(match: Match, steps: list[Any]) -> None:
    Witness(match).run(steps)


def test_a_part_of_a_frame_is_no_event_of_its_own() -> None:
    scene = Scene()
    sighting = decode(json.dumps(verdict(1, FOREIGN)).encode())
    assert isinstance(sighting, Sightings)
    assert (
        len(scene.correlation.receive(sighting, NOW))
        == len(scene.correlation.receive(replace(sighting, raw=b""), NOW)) + 1
    )


def test_the_shapes_of_replies_are_those_of_the_calls_under_way() -> None:
    scene = Scene()
    call = scene.call()
    assert scene.correlation.reply_shapes() == {call.request_id: Any}
    scene.correlation.end(call)
    assert scene.correlation.reply_shapes() == {}


@pytest.mark.parametrize("match", ["auto", "chat"])
def test_what_an_earlier_attempt_has_sent_is_not_sent_again(match: Match) -> None:
    """Its proof may come while the next attempt is committed, and no call waits for it yet."""
    scene = Scene(match)
    first = scene.send()
    if match == "chat":
        scene.hear(verdict(0, FOREIGN), after=NOT_SENT_CREDIBLE_SECONDS + 5.0)
    scene.correlation.end(first)
    (late,) = scene.hear(verdict(1, OURS if match == "auto" else FOREIGN), after=30.0)
    assert isinstance(late, LateEvidence)
    with pytest.raises(Refused, match="an earlier attempt has sent"):
        scene.send()
    scene.send(OURS_TOO, OTHER)


def test_what_an_earlier_attempt_has_not_sent_is_tried_again() -> None:
    scene = Scene()
    scene.correlation.end(scene.send())
    assert scene.hear(verdict(0), after=5.0) != []
    scene.send(after=6.0)
