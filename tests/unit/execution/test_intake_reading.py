"""What intake makes of each kind of message: a job, an answer, or an entry on ``worker68:dead``; it never raises."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.jobs import MUTE, NOW, SEND, SYNC, account, message, mute_fields, send_fields
from worker68.errors import LeaseLost
from worker68.execution import intake as intake_module
from worker68.execution.intake import PARKED_FOR, Arrival, Intake, unknown_task_outcome
from worker68.jobs.outcome import ErrorCode, Outcome, Status
from worker68.jobs.permission import Permissions
from worker68.jobs.states import State
from worker68.store.engine import open_engine
from worker68.store.intake import Dead, Entry

SOON = NOW + dt.timedelta(minutes=1)
LATER = NOW + dt.timedelta(minutes=2)
PAST = NOW - dt.timedelta(seconds=1)


@pytest.fixture(scope="module")
def intake() -> Intake:
    """Reading needs no database: this one is never opened."""
    strict = account("strict", permissions=Permissions(tasks=frozenset({SYNC})))
    free = account("free", check_texts=False)
    accounts = {"main": account(), "strict": strict, "free": free}
    return Intake(open_engine("sqlite:///never-opened.db"), accounts)


GROUP_FIELDS = {"group_id": 389284}
NEVER_SENT = "look: eval (1)"


@pytest.mark.parametrize(
    ("task", "fields", "named"),
    [
        ("send_message", send_fields(text=NEVER_SENT), "text"),
        ("set_group_notice", GROUP_FIELDS | {"notice": NEVER_SENT}, "notice"),
        ("mute_group", GROUP_FIELDS | {"announcement_text": NEVER_SENT}, "announcement_text"),
    ],
)
def test_a_text_that_the_client_never_sends_is_an_invalid_job(
    intake: Intake, task: str, fields: dict[str, Any], named: str
) -> None:
    entry = entry_of(intake, message(f"worker68.{task}", fields))
    assert entry.outcome is not None
    assert (code_of(entry.outcome), entry.is_job) == (ErrorCode.INVALID_JOB, False)
    assert entry.outcome.error is not None
    assert f"{named}: contains 'eval('" in entry.outcome.error.message
    assert "WORKER68_CHECK_TEXTS" in entry.outcome.error.message


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("send_message", send_fields(text=NEVER_SENT, account="free")),
        ("send_message", send_fields(text="eval uation, executive, atob")),
        ("set_group_notice", GROUP_FIELDS | {"notice": NEVER_SENT, "announce": False}),
        ("mute_group", GROUP_FIELDS | {"announcement_text": NEVER_SENT, "announce": False}),
    ],
)
def test_what_the_client_sends_or_the_account_wants_to_try_is_a_job(
    intake: Intake, task: str, fields: dict[str, Any]
) -> None:
    entry = entry_of(intake, message(f"worker68.{task}", fields))
    assert (entry.outcome, entry.is_job) == (None, True)


def read(intake: Intake, raw: bytes, queue: str | None = None) -> tuple[Entry | None, Dead | None]:
    reading = intake.read(Arrival(raw, "worker68", queue), NOW)
    return reading.entry, reading.dead


def entry_of(intake: Intake, raw: bytes, queue: str | None = None) -> Entry:
    entry, dead = read(intake, raw, queue)
    assert entry is not None
    assert dead is None
    return entry


def outcome_of(intake: Intake, raw: bytes, queue: str | None = None) -> Outcome:
    outcome = entry_of(intake, raw, queue).outcome
    assert outcome is not None
    return outcome


def code_of(outcome: Outcome) -> ErrorCode:
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    return outcome.error.code


def test_a_send_becomes_a_ready_row(intake: Intake) -> None:
    raw = message(kwargs=send_fields(reply_to="orders", metadata={"a": 1}, job_id="j"), task_id="t", priority=4)
    entry = entry_of(intake, raw)
    assert (entry.outcome, entry.is_job, entry.sends, entry.key) == (None, True, True, ("main", "j"))
    wanted = {
        "task": SEND,
        "chat_type": "group",
        "chat_id": 389284,
        "lane": "send:group:389284",
        "priority": 4,
        "state": State.READY,
        "received_at": NOW,
        "due_at": None,
        "expires_at": None,
        "envelope": raw.decode(),
    }
    assert {name: entry.row[name] for name in wanted} == wanted
    requester = entry.requester
    assert (requester.task_id, requester.reply_to, requester.metadata) == ("t", "orders", '{"a":1}')


def test_what_sends_nothing_needs_no_name_at_the_bridge(intake: Intake) -> None:
    assert not entry_of(intake, message(MUTE, mute_fields())).sends
    sync = entry_of(intake, message(SYNC, {}))
    assert (sync.sends, sync.row["chat_id"], sync.row["lane"]) == (False, None, f"{SYNC}:")


@pytest.mark.parametrize("given_time", [{"send_at": SOON.timestamp()}, {"send_at": SOON.isoformat()}])
def test_a_later_start_defers(intake: Intake, given_time: dict[str, Any]) -> None:
    row = entry_of(intake, message(kwargs=send_fields(**given_time))).row
    assert (row["state"], row["due_at"]) == (State.DEFERRED, SOON)


def test_celerys_eta_defers_too_and_a_past_one_does_not(intake: Intake) -> None:
    assert entry_of(intake, message(eta=SOON.isoformat())).row["due_at"] == SOON
    past = entry_of(intake, message(eta=PAST.isoformat())).row
    assert (past["state"], past["due_at"]) == (State.READY, None)


def test_what_has_expired_on_arrival_ends(intake: Intake) -> None:
    for raw in (message(expires=NOW.isoformat()), message(kwargs=send_fields(expires_at=PAST.timestamp()))):
        assert outcome_of(intake, raw).status is Status.EXPIRED


def test_what_would_expire_before_its_start_ends_at_once_only_if_asked_to(intake: Intake) -> None:
    times = {"send_at": LATER.timestamp(), "expires_at": SOON.timestamp()}
    patient = entry_of(intake, message(kwargs=send_fields(**times)))
    assert (patient.outcome, patient.row["state"], patient.row["expires_at"]) == (None, State.DEFERRED, SOON)
    assert outcome_of(intake, message(kwargs=send_fields(**times, reject_if_late=True))).status is Status.EXPIRED


def test_an_unknown_account_is_told(intake: Intake) -> None:
    assert code_of(outcome_of(intake, message(kwargs=send_fields(account="nobody")))) is ErrorCode.UNKNOWN_ACCOUNT
    assert code_of(outcome_of(intake, message("worker68.later", {"account": "nobody"}))) is ErrorCode.UNKNOWN_ACCOUNT
    assert not entry_of(intake, message(kwargs=send_fields(account="nobody"))).is_job


@pytest.mark.parametrize("raw", [message(), message("worker68.later", {})])
def test_on_the_queue_of_an_account_that_was_removed_a_message_is_left(intake: Intake, raw: bytes) -> None:
    with pytest.raises(LeaseLost):
        outcome_of(intake, raw, "nobody")


def test_a_task_that_the_account_may_not_run_is_not_permitted(intake: Intake) -> None:
    assert code_of(outcome_of(intake, message(), "strict")) is ErrorCode.NOT_PERMITTED
    assert entry_of(intake, message(SYNC, {}), "strict").outcome is None


def test_an_invalid_job_is_answered_and_holds_no_key(intake: Intake) -> None:
    entry = entry_of(intake, message(kwargs=send_fields(text="", metadata={"a": 1}, reply_to="orders"), task_id="t"))
    assert not entry.is_job
    assert entry.outcome is not None
    assert code_of(entry.outcome) is ErrorCode.INVALID_JOB
    requester = entry.requester
    assert (requester.reply_to, requester.metadata, requester.task_id) == ("orders", '{"a":1}', "t")


def test_an_invalid_job_without_a_usable_address_is_also_set_aside(intake: Intake) -> None:
    entry, dead = read(intake, message(kwargs=send_fields(reply_to="no such place"), task_id="t"))
    assert entry is not None
    assert entry.requester.reply_to == ""
    assert dead is not None
    shown = json.loads(dead.payload)
    assert shown["task_id"] == "t"
    assert shown["reason"].startswith("reply_to: ")


def test_an_unknown_task_waits_for_a_worker_that_knows_it(intake: Intake) -> None:
    entry = entry_of(intake, message("worker68.later", {"thing": [1], "account": "main"}))
    assert (entry.outcome, entry.is_job) == (None, True)
    row = entry.row
    assert (row["state"], row["lane"], row["due_at"]) == (State.DEFERRED, "parked", NOW + PARKED_FOR)
    assert "worker68.later" in row["reason"]
    assert "did you mean" not in row["reason"]


def test_an_unknown_task_waits_no_longer_than_it_may(intake: Intake) -> None:
    first, last = (NOW + dt.timedelta(minutes=minutes) for minutes in (1, 2))
    for kwargs, header in (({"expires_at": first.isoformat()}, last), ({"expires_at": last.isoformat()}, first)):
        entry = entry_of(intake, message("worker68.later", kwargs, expires=header.isoformat()))
        assert entry.row["expires_at"] == first


@pytest.mark.parametrize("task", ["worker68.send_mesage", "send_message", "worker68.Send_Message"])
def test_an_unknown_task_is_told_the_nearest_known_one(intake: Intake, task: str) -> None:
    assert "did you mean worker68.send_message?" in entry_of(intake, message(task, {})).row["reason"]
    outcome = unknown_task_outcome(task)
    assert outcome.error is not None
    assert outcome.error.message.endswith("did you mean 'worker68.send_message'?")


def test_an_unknown_task_with_wrong_common_fields_is_invalid_at_once(intake: Intake) -> None:
    outcome = outcome_of(intake, message("worker68.later", {"send_at": "soon"}))
    assert code_of(outcome) is ErrorCode.INVALID_JOB
    assert outcome.error is not None
    assert outcome.error.message.startswith("task: no worker knows 'worker68.later'; known are ")
    assert "send_at: " in outcome.error.message


@pytest.mark.parametrize("raw", [b"", b"not json", b"[]", b"\xff\x00\xfe", b'{"headers": {}}', "é".encode("latin-1")])
def test_what_has_no_envelope_is_set_aside_as_it_came(intake: Intake, raw: bytes) -> None:
    entry, dead = read(intake, raw, "main")
    assert entry is None
    assert dead is not None
    shown = json.loads(dead.payload)
    assert shown["queue"] == "worker68"
    assert shown["reason"]
    came = shown["message"].encode() if "message" in shown else base64.b64decode(shown["message_base64"])
    assert came == raw
    assert dead.account == "main"


@pytest.mark.parametrize("depth", [10, 500, 900, 980, 985, 990, 995, 1000, 2000, 100_000])
@pytest.mark.parametrize("task", [SEND, "worker68.later"])
def test_deep_nesting_is_invalid_or_set_aside(intake: Intake, depth: int, task: str) -> None:
    for field in (b"metadata", b"text", b"thing"):
        kwargs = b'{"%s": {"a": %s%s}}' % (field, b"[" * depth, b"]" * depth)
        entry, dead = read(intake, message(task, kwargs))
        assert entry is not None
        assert entry.is_job == (depth == 10 and task != SEND)
        assert dead is None or depth > 900


def test_an_unreadable_body_is_answered_as_celerys_failure_and_set_aside(intake: Intake) -> None:
    entry, dead = read(intake, message(task_id="t", compression="application/x-gzip"), "main")
    assert entry is not None
    assert not entry.is_job
    assert entry.outcome is not None
    assert code_of(entry.outcome) is ErrorCode.INVALID_JOB
    assert (entry.row["account"], entry.row["task"], entry.key) == ("main", SEND, ("main", "t"))
    assert (entry.requester.task_id, entry.requester.reply_to) == ("t", "")
    assert dead is not None
    assert json.loads(dead.payload)["task_id"] == "t"
    silent, _ = read(intake, message(compression="x", ignore_result=True))
    assert silent is not None
    assert silent.requester.ignore_result


@pytest.mark.parametrize("fault", [RecursionError(), MemoryError(), OverflowError("secret"), AssertionError("secret")])
def test_whatever_a_message_raises_it_is_answered_and_set_aside(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(intake_module, "read_order", fail)
    entry, dead = read(intake, message(task_id="t"))
    assert entry is not None
    assert entry.outcome is not None
    assert code_of(entry.outcome) is ErrorCode.INVALID_JOB
    assert entry.requester.task_id == "t"
    assert dead is not None
    reason = json.loads(dead.payload)["reason"]
    assert type(fault).__name__ in reason
    assert "secret" not in reason
    monkeypatch.setattr(intake_module, "read_sender", fail)
    assert read(intake, message(task_id="t"))[0] is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["chat", "text", "account", "job_id", "reply_to", "send_at", "expires_at", "metadata"])


@given(st.sampled_from([SEND, MUTE, SYNC, "worker68.later", "x"]), st.dictionaries(names, json_values), json_values)
def test_any_message_becomes_a_row_or_is_set_aside(
    intake: Intake, task: str, kwargs: dict[str, Any], header: Any
) -> None:
    entry, dead = read(intake, message(task, kwargs, eta=header, expires=header, ignore_result=header))
    assert entry is not None or dead is not None
    if entry is not None:
        assert msgspec.json.decode(entry.row["fields"]) is not None
        assert 1 <= len(entry.row["job_id"]) <= 255
        assert len(entry.row["account"]) <= 64
        assert len(entry.row["lane"]) <= 120


@given(st.binary(max_size=200))
def test_any_bytes_are_set_aside_as_they_came(intake: Intake, raw: bytes) -> None:
    entry, dead = read(intake, raw)
    assert entry is None
    assert dead is not None
