"""What entries of lists have in common: roles, notices, friends; what cannot be read is nothing, and no exception."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from worker68.protocol.entries import User, decode_entry, is_friend, read_notice, read_role


@pytest.mark.parametrize(
    ("rank", "role"),
    [
        (None, "host"),
        (0, "host"),
        (1, "admin"),
        ("2", "member"),
        ("MANAGE", "admin"),
        ("OWNER", None),
        (9, None),
        ([], None),
    ],
)
def test_a_rank_is_a_role(rank: Any, role: str | None) -> None:
    assert read_role(rank) == role


@pytest.mark.parametrize(
    ("notice", "read"),
    [({"noticeId": "7", "notice": "n"}, (7, "n")), ({}, (None, None)), (None, (None, None)), ("n", (None, None))],
)
def test_a_notice_has_an_id_and_a_text(notice: Any, read: tuple[int | None, str | None]) -> None:
    assert read_notice(notice) == read


def test_only_who_is_said_to_be_a_friend_is_one() -> None:
    assert is_friend(User(friendRelation={"bfFriend": True}))
    assert not any(is_friend(User(friendRelation=relation)) for relation in (None, {}, {"bfFriend": "yes"}, [True]))


def test_an_entry_of_another_shape_is_none() -> None:
    decoder = msgspec.json.Decoder(User)
    assert decode_entry(msgspec.Raw(b'{"uid":5}'), decoder) == User(uid=5)
    assert decode_entry(msgspec.Raw(b"[5]"), decoder) is None
