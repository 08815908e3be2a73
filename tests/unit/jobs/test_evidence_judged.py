"""The rules of the contract, section 2, "What proves what", one row each; and what no evidence may ever lead to."""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker68.jobs.evidence import (
    BridgeError,
    Confirm,
    Evidence,
    Verdict,
    give_up,
    judge_request,
    judge_send,
    judge_unknown_call,
)
from worker68.jobs.outcome import ErrorCode, Outcome, Status, TryAgain, succeeded

Seen: TypeAlias = dict[str, Any]

WRITTEN: Seen = {"written": True}
SENT: Seen = WRITTEN | {"verdict": Verdict.SENT, "verdict_seconds": 0.3, "tied_by": "id", "message_id": 77}
NOT_SENT: Seen = WRITTEN | {"verdict": Verdict.NOT_SENT, "verdict_seconds": 3.0, "tied_by": "id"}
ECHO: Seen = WRITTEN | {"echo": True, "message_id": 77, "tied_by": "id"}
BUSY: Seen = WRITTEN | {"replied": True, "error": BridgeError(300, "service busy")}
NO: Seen = WRITTEN | {"replied": True, "error": BridgeError(1021, "you are muted")}
ACCEPTED: Seen = WRITTEN | {"replied": True, "data": "success"}
LOST: Seen = {"connection_lost": True}
TAKEN: Seen = {"taken": True}
BLOCKED: Seen = WRITTEN | {"notice": BridgeError(5114, "not your friend")}


def say(conclusion: Outcome | TryAgain) -> str:
    """Return status and code of an outcome, or which try it asks for, as one word or two."""
    if isinstance(conclusion, TryAgain):
        return f"again {conclusion.code}" if conclusion.spent else "again unspent"
    return f"{conclusion.status} {conclusion.error.code}" if conclusion.error else str(conclusion.status)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        # Verdict 1 (or 2, read), or the account's own message seen with a server id.
        (SENT, "succeeded"),
        (SENT | {"verdict": Verdict.READ}, "succeeded"),
        (SENT | {"tied_by": "chat"}, "succeeded"),
        (SENT | {"verdict_seconds": 29.0}, "succeeded"),
        (SENT | LOST, "succeeded"),
        (SENT | {"error": BridgeError(300, "busy"), "replied": True}, "succeeded"),
        (ECHO, "succeeded"),
        (ECHO | LOST, "succeeded"),
        (ECHO | {"verdict": Verdict.NOT_SENT, "verdict_seconds": 3.0}, "succeeded"),
        (ECHO | {"error": BridgeError(1021, "no"), "replied": True}, "succeeded"),
        # Verdict 0 within 10 s of the write, tied by id.
        (NOT_SENT, "failed not_sent"),
        (NOT_SENT | {"verdict_seconds": 10.0}, "failed not_sent"),
        (NOT_SENT | LOST, "failed not_sent"),
        (NOT_SENT | {"error": BridgeError(300, "busy"), "replied": True}, "failed not_sent"),
        # A late 0, a 0 of unknown age, a 0 tied only by chat.
        (NOT_SENT | {"verdict_seconds": 10.01}, "in_doubt no_verdict"),
        (NOT_SENT | {"verdict_seconds": None}, "in_doubt no_verdict"),
        (NOT_SENT | {"tied_by": "chat"}, "in_doubt no_verdict"),
        (NOT_SENT | {"tied_by": None}, "in_doubt no_verdict"),
        (NOT_SENT | {"tied_by": "chat", "error": BridgeError(300, "busy"), "replied": True}, "in_doubt no_verdict"),
        (NOT_SENT | {"verdict_seconds": 15.0} | LOST, "in_doubt connection_lost"),
        # An explicit error reply, with neither own echo nor verdict.
        (BUSY, "again busy"),
        (BUSY | {"error": BridgeError(300, "")}, "again busy"),
        (NO, "failed refused"),
        (NO | {"error": BridgeError("300", "code as a word")}, "failed refused"),
        (NO | {"error": BridgeError(None, "no code")}, "failed refused"),
        (BUSY | LOST, "in_doubt connection_lost"),
        (NO | LOST, "in_doubt connection_lost"),
        # With the client's own echo beside it, though it be pending, an error reply is none.
        (BUSY | TAKEN, "in_doubt no_verdict"),
        (NO | TAKEN, "in_doubt no_verdict"),
        # Nor with a message of the account's own that may be this one: a client may have changed its text.
        (BUSY | {"maybe_shown": True}, "in_doubt no_verdict"),
        (NO | {"maybe_shown": True}, "in_doubt no_verdict"),
        # A refusal event while exactly one send is under way in the chat.
        (BLOCKED, "failed refused"),
        (BLOCKED | TAKEN, "failed refused"),
        (BLOCKED | {"notice": BridgeError(5113, "")}, "failed refused"),
        (BLOCKED | LOST, "failed refused"),
        (BLOCKED | SENT, "succeeded"),
        (BLOCKED | ECHO, "succeeded"),
        (WRITTEN | {"notice": BridgeError(1021, "muted")}, "in_doubt no_verdict"),
        # Everything else after the first byte.
        (WRITTEN | TAKEN, "in_doubt no_verdict"),
        (WRITTEN | {"not_taken": True}, "in_doubt no_verdict"),
        (WRITTEN, "in_doubt no_verdict"),
        (ACCEPTED, "in_doubt no_verdict"),
        (WRITTEN | LOST, "in_doubt connection_lost"),
        (ACCEPTED | LOST, "in_doubt connection_lost"),
        # Not a byte was written: nothing can have happened.
        ({}, "again unspent"),
        (LOST, "again unspent"),
        # A proof without a write of this attempt is of an earlier one.
        ({"verdict": Verdict.SENT, "verdict_seconds": 0.1, "tied_by": "id"}, "succeeded"),
        ({"echo": True, "message_id": 77}, "succeeded"),
    ],
)
def test_what_proves_what_for_a_send(seen: Seen, expected: str) -> None:
    assert say(judge_send(Evidence(**seen), 12345678901, "verdict")) == expected


@pytest.mark.parametrize(
    ("confirm", "seen", "expected"),
    [
        ("reply", ACCEPTED, "succeeded"),
        ("reply", ACCEPTED | LOST, "succeeded"),
        ("reply", WRITTEN, "in_doubt no_verdict"),
        ("reply", BUSY, "again busy"),
        ("reply", NO, "failed refused"),
        ("write", WRITTEN, "succeeded"),
        ("write", WRITTEN | LOST, "in_doubt connection_lost"),  # the frame may have been cut
        ("write", WRITTEN | {"cut": True}, "in_doubt no_verdict"),
        ("write", {}, "again unspent"),
        ("reply", {}, "again unspent"),
    ],
)
def test_what_confirms_a_send_is_a_setting(confirm: Confirm, seen: Seen, expected: str) -> None:
    assert say(judge_send(Evidence(**seen), 12345678901, confirm)) == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (ACCEPTED, "succeeded"),
        (ACCEPTED | LOST, "succeeded"),
        (BUSY, "again busy"),
        (NO, "failed refused"),
        (WRITTEN, "again unavailable"),
        (WRITTEN | LOST, "again unavailable"),
        ({}, "again unspent"),
    ],
)
def test_what_proves_what_for_a_request(seen: Seen, expected: str) -> None:
    assert say(judge_request(Evidence(**seen))) == expected


def test_a_success_tells_the_messages_names_and_time() -> None:
    sent_at = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    outcome = judge_send(Evidence(**SENT, sent_at=sent_at), 12345678901, "verdict")
    assert isinstance(outcome, Outcome)
    assert outcome.result == {"custom_msg_id": "12345678901", "message_id": 77, "sent_at": sent_at}


def test_a_refusal_tells_the_bridges_code_and_words() -> None:
    outcome = judge_send(Evidence(**NO), 12345678901, "verdict")
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert outcome.error.as_dict() == {
        "code": "refused",
        "message": "the bridge refused: you are muted",
        "bridge_code": 1021,
    }


def error_of(seen: Seen) -> dict[str, Any]:
    outcome = judge_send(Evidence(**seen), 12345678901, "verdict")
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    return outcome.error.as_dict()


@pytest.mark.parametrize("lost", [{}, LOST])
def test_a_doubt_says_whether_the_client_had_taken_the_message(lost: Seen) -> None:
    assert "the client" not in error_of(WRITTEN | lost)["message"]
    assert error_of(WRITTEN | TAKEN | lost)["message"].endswith(
        "; the client had taken it: it showed the message as its own"
    )
    assert error_of(WRITTEN | {"not_taken": True} | lost)["message"].endswith(
        "; the client did not show it within 2 s, so it may not have taken it"
    )


@pytest.mark.parametrize(("code", "words"), [(1021, "muted"), (1022, "banned")])
@pytest.mark.parametrize("where", ["notice", "error"])
def test_a_group_that_lets_nothing_through_is_said_in_words(code: int, words: str, where: str) -> None:
    error = error_of(NOT_SENT | {where: BridgeError(code, ""), "replied": where == "error"})
    assert (error["code"], error["bridge_code"]) == ("not_sent", code)
    assert words in error["message"]


def test_a_groups_code_alone_is_a_refusal_in_words() -> None:
    error = error_of(WRITTEN | {"replied": True, "error": BridgeError(1021, "")})
    assert (error["code"], error["bridge_code"]) == ("refused", 1021)
    assert "muted" in error["message"]


def test_a_friends_refusal_tells_what_happened() -> None:
    assert error_of(BLOCKED) == {
        "code": "refused",
        "message": "the friend has blocked or removed the account: not your friend",
        "bridge_code": 5114,
    }


@pytest.mark.parametrize(("attempts", "words"), [(1, "1 attempt"), (5, "5 attempts")])
def test_giving_up_says_why_and_after_how_many_attempts(attempts: int, words: str) -> None:
    outcome = give_up(TryAgain(ErrorCode.BUSY, "the service is busy: x", spent=True, bridge_code=300), attempts)
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert outcome.error.as_dict() == {
        "code": "busy",
        "message": f"the service is busy: x; gave up after {words}",
        "bridge_code": 300,
    }


errors = st.builds(
    BridgeError,
    code=st.sampled_from([300, 200, 0, "300", None, 1021]),
    text=st.text(max_size=5),
    busy=st.booleans(),
)
evidence = st.builds(
    Evidence,
    written=st.just(True),
    replied=st.booleans(),
    data=st.none() | st.just("success"),
    error=st.none() | errors,
    verdict=st.none() | st.sampled_from([Verdict.NOT_SENT, Verdict.SENT, Verdict.READ]),
    verdict_seconds=st.none() | st.floats(0, 60),
    tied_by=st.sampled_from(["id", "chat", None]),
    echo=st.booleans(),
    message_id=st.none() | st.integers(1, 2**63 - 1),
    connection_lost=st.booleans(),
    notice=st.none() | st.builds(BridgeError, code=st.sampled_from([5113, 5114, 1021]), text=st.just("no")),
    taken=st.booleans(),
)
confirms: st.SearchStrategy[Confirm] = st.sampled_from(["verdict", "reply", "write"])


@given(evidence, confirms)
def test_a_written_send_is_tried_again_only_after_a_pure_busy(seen: Evidence, confirm: Confirm) -> None:
    """What may have gone out is never sent again; a "busy" that nothing contradicts is the bridge's word that it has not."""
    conclusion = judge_send(seen, 12345678901, confirm)
    if isinstance(conclusion, TryAgain):
        assert conclusion.code is ErrorCode.BUSY
        assert conclusion.spent
        assert seen.error is not None
        assert seen.error.code == 300
        assert seen.verdict is None
        assert not seen.echo
        assert not seen.taken
        assert not seen.connection_lost


@given(evidence)
def test_a_send_fails_only_by_the_bridges_own_word(seen: Evidence) -> None:
    conclusion = judge_send(seen, 12345678901, "verdict")
    if isinstance(conclusion, Outcome) and conclusion.status is Status.FAILED:
        assert seen.error is not None or seen.verdict is Verdict.NOT_SENT or seen.refused_by_friend
        assert not seen.echo
        assert seen.verdict not in (Verdict.SENT, Verdict.READ)


@given(evidence)
def test_a_proof_that_it_was_sent_beats_everything(seen: Evidence) -> None:
    conclusion = judge_send(seen, 12345678901, "verdict")
    proven = seen.echo or seen.verdict in (Verdict.SENT, Verdict.READ)
    assert proven == (isinstance(conclusion, Outcome) and conclusion.status is Status.SUCCEEDED)


def test_a_code_of_the_settings_lets_a_read_be_tried_again_but_no_send() -> None:
    seen = Evidence(written=True, replied=True, error=BridgeError(429, "slow down", busy=True))
    assert say(judge_request(seen)) == "again busy"
    assert say(judge_send(seen, 12345678901, "verdict")) == "failed refused"


SILENCE = Evidence(written=True)


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (SILENCE, ErrorCode.NO_VERDICT),
        (replace(SILENCE, connection_lost=True), ErrorCode.CONNECTION_LOST),
    ],
)
def test_a_call_that_nobody_knows_and_nobody_answered_is_in_doubt(seen: Evidence, code: ErrorCode) -> None:
    outcome = judge_unknown_call(seen)
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert (outcome.status, outcome.error.code) == (Status.IN_DOUBT, code)


def test_a_call_that_nobody_knows_is_tried_again_only_where_not_a_byte_was_written() -> None:
    again = judge_unknown_call(Evidence())
    assert isinstance(again, TryAgain)
    assert not again.spent
    busy = judge_unknown_call(replace(SILENCE, replied=True, error=BridgeError(300, "busy")))
    assert isinstance(busy, Outcome)
    assert busy.error is not None
    assert (busy.status, busy.error.code, busy.error.bridge_code) == (Status.FAILED, ErrorCode.BUSY, 300)
    done = judge_unknown_call(replace(SILENCE, replied=True, data={"paid": 1}))
    assert done == succeeded({"data": {"paid": 1}})
