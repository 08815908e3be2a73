"""Every wrong field is named, each with what would be right; what is right passes unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.jobs import LEAST_FIELDS, MUTE, SEND, SYNC, mute_fields, order, send_fields
from worker68.errors import FieldError, InvalidJob
from worker68.jobs.validation import COMMON_FIELDS, convert_common, convert_fields
from worker68.tasks.send_message import SendMessage

QUOTE = {"message_id": 5, "text": "before", "user_id": 7, "name": "Ann"}


def problems(task: str, kwargs: Any, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidJob) as refused:
        order(task, kwargs, **more)
    return {error.field: error.problem for error in refused.value.fields}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"chat": 5}, "chat"),
        ({"chat": None}, "chat"),
        ({"chat": {"type": "group"}}, "chat.id"),
        ({"chat": {"type": "group", "id": "5"}}, "chat.id"),
        ({"chat": {"type": "group", "id": 0}}, "chat.id"),
        ({"chat": {"type": "group", "id": 10**30}}, "chat.id"),
        ({"chat": {"type": "channel", "id": 5}}, "chat.type"),
        ({"chat": {"type": "group", "id": 5, "name": "x"}}, "chat.name"),
        ({"text": ""}, "text"),
        ({"text": None}, "text"),
        ({"text": ["hello"]}, "text"),
        ({"quote": QUOTE | {"message_id": "5"}}, "quote.message_id"),
        ({"quote": {}}, "quote.message_id"),
        ({"quote": "before"}, "quote"),
        ({"mentions": [1, "2"]}, "mentions[1]"),
        ({"mentions": 1}, "mentions"),
        ({"account": "Main"}, "account"),
        ({"account": 5}, "account"),
        ({"job_id": ""}, "job_id"),
        ({"job_id": "x" * 129}, "job_id"),
        ({"job_id": "line\nbreak"}, "job_id"),
        ({"job_id": "nul\x00"}, "job_id"),
        ({"job_id": 5}, "job_id"),
        ({"reply_to": "or ders"}, "reply_to"),
        ({"reject_if_late": "yes"}, "reject_if_late"),
        ({"reject_if_late": 1}, "reject_if_late"),
        ({"ordered": "true"}, "ordered"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"blob": "x" * 4096}}, "metadata"),
    ],
)
def test_names_the_wrong_field(changed: dict[str, Any], field: str) -> None:
    assert field in problems(SEND, send_fields(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "x" * 20_000},
        {"text": "\x00\n🙂‍👩‍👧 é"},
        {"chat": {"type": "friend", "id": 2**63 - 1}},
        {"quote": None, "mentions": [1, 2]},
        {"quote": QUOTE | {"custom_msg_id": "123"}},
        {"quote": QUOTE | {"custom_msg_id": None}},
        {"account": "a-b_9" * 12},
        {"job_id": "é 🙂 " + "x" * 100},
        {"reply_to": "stream:or-ders.A_1"},
        {"metadata": {}},
        {"metadata": {"blob": "x" * 4085}},
        {"metadata": {"big": 10**40, "nul": "\x00", "deep": [[[[{}]]]]}},
    ],
)
def test_takes_what_the_contract_allows(changed: dict[str, Any]) -> None:
    wanted = order(SEND, send_fields(**changed))
    for name in changed.keys() & {"text", "chat", "job_id", "reply_to", "metadata", "account"}:
        source = wanted.fields if hasattr(wanted.fields, name) else wanted.common
        value = getattr(source, name)
        assert (value if name != "chat" else {"type": value.type, "id": value.id}) == changed[name]


def test_names_everything_that_is_wrong_at_once() -> None:
    wrong = {"chat": {"type": "grp", "id": "x", "tpye": 1}, "txt": "hi", "metadata": 5, "send_at": "soon"}
    assert set(problems(SEND, wrong, args=[1])) == {
        "args",
        "chat.type",
        "chat.id",
        "chat.tpye",
        "text",
        "txt",
        "metadata",
        "send_at",
    }


def test_hints_at_the_field_that_was_meant() -> None:
    assert problems(SEND, send_fields(tetx="hi"))["tetx"] == "unknown field; did you mean 'text'?"
    assert problems(SEND, send_fields(metdata={}))["metdata"] == "unknown field; did you mean 'metadata'?"


def test_lists_the_fields_where_none_is_near() -> None:
    every = "account, expires_at, job_id, metadata, ordered, reject_if_late, reply_to, send_at"
    assert problems(SEND, send_fields(zzz=1))["zzz"] == f"unknown field; known are chat, mentions, quote, text, {every}"
    assert problems(SYNC, {"zzz": 1})["zzz"] == f"unknown field; known are {every}"


def test_of_very_many_unknown_fields_a_hundred_are_named() -> None:
    named = problems(SYNC, {f"field{number}": 1 for number in range(1000)})
    assert len(named) == 101
    assert named["…"] == "900 more unknown fields"


def test_an_unknown_name_is_shown_short_and_printable() -> None:
    (shown,) = problems(SEND, send_fields(**{"\x00" * 3 + "x" * 500: 1}))
    assert shown.startswith("\N{REPLACEMENT CHARACTER}" * 3 + "x")
    assert shown.isprintable()
    assert len(shown) == 80


@pytest.mark.parametrize("name", ["account", "job_id", "reply_to", "send_at", "expires_at", "metadata", "ordered"])
def test_a_null_is_a_field_left_out(name: str) -> None:
    assert order(SEND, send_fields(**{name: None}), task_id="t") == order(SEND, send_fields(), task_id="t")


@pytest.mark.parametrize("seconds", [-1, 2**31, 1.5, "600", True, None])
def test_a_mute_has_a_length_that_the_bridge_can_take(seconds: Any) -> None:
    assert list(problems(MUTE, mute_fields(seconds=seconds))) == ["seconds"]


def test_zero_seconds_lift_a_mute() -> None:
    assert order(MUTE, mute_fields(seconds=0)).fields.seconds == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("task", "changed", "field"),
    [
        ("send_file", {"path": ""}, "path"),
        ("send_file", {"path": "C:/" + "x" * 5000}, "path"),
        ("send_file", {"text": "hello"}, "text"),
        ("set_group_notice", {"notice": ""}, "notice"),
        ("set_group_notice", {"announce": "yes"}, "announce"),
        ("mute_group", {"muted": 1}, "muted"),
        ("mute_group", {"announcement_text": ""}, "announcement_text"),
        ("mute_group", {"group": 5}, "group"),
        ("sync_contact", {"user_id": "7"}, "user_id"),
        ("sync_contacts", {"user_id": 7}, "user_id"),
        ("sync_group_members", {"group_id": None}, "group_id"),
        ("sync_online_status", {"user_ids": [1, 0]}, "user_ids[1]"),
        ("sync_online_status", {"user_ids": 7}, "user_ids"),
        ("request", {"path": None}, "path"),
        ("request", {"data": [1]}, "data"),
        ("request", {"url": "https://elsewhere/user"}, "url"),
        ("restart_client", {"force": True}, "force"),
    ],
)
def test_names_the_wrong_field_of_every_task(task: str, changed: dict[str, Any], field: str) -> None:
    name = f"worker68.{task}"
    assert list(problems(name, {**LEAST_FIELDS[name], **changed})) == [field]


@pytest.mark.parametrize("task", LEAST_FIELDS)
def test_takes_the_least_of_every_task(task: str) -> None:
    assert order(task, LEAST_FIELDS[task]).kind.name == task


def test_missing_fields_are_called_missing() -> None:
    assert problems(MUTE, {}) == {"group_id": "missing", "user_id": "missing", "seconds": "missing"}


def test_the_literal_choices_are_named() -> None:
    assert problems(SEND, send_fields(chat={"type": 5, "id": 1}))["chat.type"] == "expected 'friend' or 'group'"


def test_another_account_than_the_queues_is_refused() -> None:
    assert "queue" in problems(SEND, send_fields(account="other"), queue_account="main")["account"]
    assert order(SEND, send_fields(account="main"), queue_account="main").account == "main"
    assert order(SEND, send_fields(), queue_account="other").account == "other"
    assert order(SEND, send_fields(account="other")).account == "other"
    assert order(SEND, send_fields()).account == "main"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    [
        "chat",
        "text",
        "quote",
        "mentions",
        "account",
        "job_id",
        "reply_to",
        "send_at",
        "expires_at",
        "metadata",
        "ordered",
    ]
)


@given(st.dictionaries(field_names | st.text(max_size=9), json_values, max_size=6), st.booleans())
def test_any_json_is_an_order_or_an_invalid_job(kwargs: dict[str, Any], fill: bool) -> None:
    errors: list[FieldError] = []
    given_kwargs = send_fields(**kwargs) if fill else kwargs
    convert_common(given_kwargs, errors)
    own = {name: value for name, value in given_kwargs.items() if name not in COMMON_FIELDS}
    fields = convert_fields(SendMessage, own, errors)
    assert fields is not None or errors
    assert "".join(map(str, errors)).isprintable()
