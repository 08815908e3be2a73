"""The table of what an error of the bridge slows down, as the setting SLOW_DOWNS writes it."""

from __future__ import annotations

from typing import Any

import pytest

from worker68.limits.slow_downs import DEFAULT_RULES, SlowDown, parse_slow_downs


def parse(given: Any) -> Any:
    return parse_slow_downs(given, DEFAULT_RULES)


def test_busy_slows_its_kind_of_call_by_default() -> None:
    assert parse({}) == {300: SlowDown("call", 0.5, 60.0)}


def test_rules_are_added_and_replaced() -> None:
    given = {"429": {"slows": "account", "share": 0.25, "longest_pause": "2m"}, "300": {"share": 0.75}}
    assert parse(given) == {429: SlowDown("account", 0.25, 120.0), 300: SlowDown("call", 0.75, 60.0)}
    assert {300: SlowDown()} == DEFAULT_RULES


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "expected a table"),
        ({"300": "call"}, "300: expected a table"),
        ({"busy": {}}, "busy: a code is a whole number"),
        ({"200": {}}, "200: a code is a whole number, and neither 0 nor 200"),
        ({"300": {"slows": "chat"}}, '300: slows: expected "call" or "account", not \'chat\''),
        ({"300": {"share": 1}}, "300: share: expected what is left of the pace, more than 0 and less than 1, not 1"),
        ({"300": {"share": "half"}}, "not 'half'"),
        ({"300": {"share": True}}, "not True"),
        ({"300": {"longest_pause": "1s"}}, "300: longest_pause: expected 2s to 1h, not '1s'"),
        ({"300": {"longest_pause": "soon"}}, "300: "),
        ({"300": {"for": "60s"}}, "300: for: no such field; expected slows, share or longest_pause"),
        ({"1": {"slows": 1}, "2": {"share": 2}}, "1: slows: .*; 2: share: "),
    ],
)
def test_what_is_wrong_is_named(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        parse(given)
