"""Lengths of time, as settings write them."""

from __future__ import annotations

from typing import Any

import pytest

from worker68.durations import parse_optional_seconds, parse_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5.0),
        (0.5, 0.5),
        ("10", 10.0),
        ("10s", 10.0),
        (" 5 m ", 300.0),
        ("2h", 7200.0),
        ("7d", 604_800.0),
        ("0", 0.0),
    ],
)
def test_a_length_of_time(value: Any, seconds: float) -> None:
    assert parse_seconds(value) == seconds


@pytest.mark.parametrize("value", ["", "s", "10 s s", "5 minutes", "-5", "1e3", "٣s", "10S", True, None, [5], "5\n6"])
def test_what_is_no_length_of_time(value: Any) -> None:
    with pytest.raises(ValueError, match="expected seconds or a length like 10s, 5m, 2h, 7d"):
        parse_seconds(value)


@pytest.mark.parametrize("value", [None, "off", "OFF", "for ever", " For Ever ", ""])
def test_a_length_of_time_that_is_off(value: Any) -> None:
    assert parse_optional_seconds(value) is None
