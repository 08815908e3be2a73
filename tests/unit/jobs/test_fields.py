"""What a field may hold: each bound is taken, and what lies beyond it is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from worker68.jobs.fields import (
    AccountName,
    Chat,
    Common,
    Id,
    NoFields,
    OneGroup,
    OneUser,
    Quote,
    ReplyTo,
    Text,
    in_group,
)

QUOTE = {"message_id": 5, "text": "before", "user_id": 7, "name": "Ann"}


def read(kind: Any, value: Any) -> Any:
    """Read a value from a message, as strictly as a job does."""
    return msgspec.convert(value, kind, strict=True)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Id, 1),
        (Id, 2**63 - 1),
        (Text, "x"),
        (Text, "x" * 20_000),
        (AccountName, "a"),
        (AccountName, "a-b_9" * 12 + "main"),
        (ReplyTo, "or-ders.A_1"),
        (ReplyTo, "x" * 100),
        (ReplyTo, "stream:" + "x" * 100),
    ],
)
def test_the_bound_is_taken(kind: Any, value: Any) -> None:
    assert read(kind, value) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((Id, value) for value in (0, -1, 2**63, 10**30, "5", True, 5.5, None)),
        *((Text, value) for value in ("", "x" * 20_001, None, 5)),
        *((AccountName, value) for value in ("", "a" * 65, "Main", "ma in", "main\n", "é", 5)),
        *((ReplyTo, value) for value in ("", "x" * 101, "or ders", "orders\n", "list:orders", 5)),
        *((ReplyTo, value) for value in ("stream:", "stream:" + "x" * 101, "stream:stream:x")),
        *((Chat, value) for value in ({}, {"type": "channel", "id": 5}, {"type": "group", "id": 0})),
        (Chat, {"type": "group", "id": 5, "name": "x"}),
        (Quote, {name: value for name, value in QUOTE.items() if name != "message_id"}),
        (Quote, QUOTE | {"message_id": 0}),
        (Quote, QUOTE | {"chat": 5}),
        (NoFields, {"group_id": 5}),
        (OneGroup, {}),
        (OneGroup, {"group_id": 5, "user_id": 7}),
        (OneUser, {"user_id": 0}),
        (Common, {"account": "Main"}),
        (Common, {"reply_to": "or ders"}),
        (Common, {"text": "x"}),
    ],
)
def test_what_lies_beyond_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(kind, value)


@pytest.mark.parametrize("custom_msg_id", [123, "123", None])
def test_a_quoted_message_may_have_an_id_of_its_senders(custom_msg_id: Any) -> None:
    assert read(Quote, QUOTE | {"custom_msg_id": custom_msg_id}).custom_msg_id == custom_msg_id


def test_a_field_that_is_null_is_one_left_out() -> None:
    assert read(Common, {"account": None, "reply_to": None, "send_at": None, "metadata": None}) == read(Common, {})


def test_the_chat_of_a_group_is_the_one_to_which_messages_go() -> None:
    chat = in_group(read(OneGroup, {"group_id": 389284}))
    assert chat == read(Chat, {"type": "group", "id": 389284})
    assert len({chat, Chat("group", 389284), Chat("friend", 389284)}) == 2, "chats are told apart as keys"
    assert str(chat) == "group 389284"
