"""The setting LIMITS: what it means, and what is said about a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker68.limits.rates import DEFAULT_LIMITS, NO_LIMITS, Limits, Rate, parse_limits, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/s", Rate(20, 1)),
        ("60/m", Rate(60, 60, 1)),
        ("20/m+3", Rate(20, 60, 3)),
        ("5/h+5", Rate(5, 3600, 5)),
        ("999999/s+999999", Rate(999_999, 1, 999_999)),
        ("off", None),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["20/s", "60/m", "20/m+3", "5/h+5"])
def test_a_rate_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_rate(text)) == text


WRONG_RATES = [
    "60/q",
    "60",
    "/m",
    "60/",
    "-1/m",
    "1.5/s",
    "60 /m",
    " 60/m",
    "60/m\n",
    "60/M",
    "60/m+",
    "60/m+-1",
    "",
    "OFF",
]


@pytest.mark.parametrize("value", [*WRONG_RATES, "٣/m", "1000000/s", 60, 1.5, None, True, ["60/m"]])
def test_a_wrong_rate_is_answered_with_what_would_be_right(value: object) -> None:
    with pytest.raises(ValueError, match=r'expected N/s, N/m or N/h with an optional \+B, like "20/m\+3", or "off"'):
        parse_rate(value)


def test_the_message_quotes_what_was_written() -> None:
    with pytest.raises(ValueError, match=r'^"60/q": expected N/s'):
        parse_rate("60/q")


def test_the_message_stays_short_whatever_was_written() -> None:
    with pytest.raises(ValueError, match=r'^"x{50,60}\.\.\.: expected') as caught:
        parse_rate("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["0/s", "000/m", "5/m+0"])
def test_zero_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="N and B are at least 1"):
        parse_rate(text)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 60, 1)])
def test_a_rate_that_would_grant_nothing_cannot_be_made(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Rate(*numbers)


@given(st.integers(1, 999_999), st.sampled_from([1, 60, 3600]))
def test_the_interval_never_gives_more_than_the_rate(count: int, period: int) -> None:
    interval = Rate(count, period).interval_microseconds
    assert interval * count >= period * 1_000_000
    assert (interval - 1) * count < period * 1_000_000


def test_the_defaults_are_those_of_the_contract() -> None:
    assert parse_limits({}) == Limits(
        account=Rate(60, 60), chat=Rate(20, 60), send=Rate(40, 60), moderate=Rate(30, 60), read=Rate(120, 60)
    )


def test_a_table_overrides_what_it_names_and_nothing_else() -> None:
    limits = parse_limits({"chat": "20/m+3", "read": "off"})
    assert (limits.chat, limits.read) == (Rate(20, 60, 3), None)
    assert (limits.account, limits.send, limits.moderate) == (
        DEFAULT_LIMITS.account,
        DEFAULT_LIMITS.send,
        DEFAULT_LIMITS.moderate,
    )


def test_off_removes_all_limits() -> None:
    assert parse_limits("off") == NO_LIMITS


def test_an_account_overrides_the_general_table() -> None:
    general = parse_limits({"account": "30/m", "chat": "off"})
    own = parse_limits({"account": "90/m"}, general)
    assert (own.account, own.chat, own.send) == (Rate(90, 60), None, DEFAULT_LIMITS.send)
    assert parse_limits({"account": "90/m"}, NO_LIMITS) == Limits(Rate(90, 60), None, None, None, None)


def test_everything_that_is_wrong_in_a_table_is_named() -> None:
    with pytest.raises(ValueError, match="no such limit") as caught:
        parse_limits({"chats": "20/m", "send": "40", "read": "120/m", 7: "1/s"})
    message = str(caught.value)
    assert '"chats": no such limit; expected account, chat, send, moderate or read' in message
    assert 'send: "40": expected' in message
    assert "7: no such limit" in message
    assert "120/m" not in message


@pytest.mark.parametrize("value", ["60/m", 60, None, ["60/m"], "on"])
def test_what_is_no_table_is_answered_with_what_would_be_right(value: object) -> None:
    with pytest.raises(ValueError, match='expected "off" or a table like'):
        parse_limits(value)
