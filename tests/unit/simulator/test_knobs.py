"""The table of faults: every knob has its words, and takes what it should from a command line, a file or a text."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from worker68.simulator import ALWAYS, Faults
from worker68.simulator.knobs import BadFault, find_knob, list_knobs, parse_seconds, read_setting, turn


def count_fields(part: Any) -> int:
    values = [getattr(part, field.name) for field in dataclasses.fields(part)]
    return sum(count_fields(value) if dataclasses.is_dataclass(value) else 1 for value in values)


def set_fault(name: str, value: Any = None) -> Any:
    """Return what a setting makes of its field."""
    faults = Faults()
    knob, read = read_setting(faults, name, value)
    turn(faults, knob, read)
    held: Any = faults
    for part in knob.name.split("."):
        held = getattr(held, part)
    return held


def test_every_field_is_in_the_table_with_its_words() -> None:
    knobs = list(list_knobs(Faults()))
    assert len(knobs) == count_fields(Faults()) > 40
    assert all(knob.words and knob.form for knob in knobs)


def test_names_and_short_names_are_unique() -> None:
    names = [name for knob in list_knobs(Faults()) for name in (knob.name, *knob.short)]
    assert len(names) == len(set(names))


def test_each_short_name_can_be_set() -> None:
    short = {name: text for knob in list_knobs(Faults()) for name, text in knob.short.items()}
    assert {"in_doubt", "busy", "late", "refused", "not_sent", "drop"} <= set(short)
    for name, stands_for in short.items():
        read_setting(Faults(), name, None if stands_for is not None else "4")


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("no_echo", None, True),
        ("no-echo", "on", True),
        ("no_echo", "off", False),
        ("no_echo", True, True),
        ("verdict", "gave_up", "gave_up"),
        ("in_doubt", None, "swallowed"),
        ("late", "4s", 4.0),
        ("extra_verdict_delay_seconds", "250ms", 0.25),
        ("reply_delay_seconds", 2, 2.0),
        ("reply_delay_seconds", "1m", 60.0),
        ("paging.short_by", "3", 3),
        ("paging.count_off_by", "-2", -2),
        ("paging.unreadable", "no_uid", "no_uid"),
        ("paging.unreadable", "off", None),
        ("spelling.swapped_ranks", None, True),
        ("client.batch_form", "array", "array"),
        ("refusal", "1022", {"errorCode": 1022, "errorDesc": "refused by the simulator"}),
        ("refusal", '{"errorCode": "0", "errorDesc": {"a": 1}}', {"errorCode": "0", "errorDesc": {"a": 1}}),
        ("refusal", {"errorCode": 5}, {"errorCode": 5}),
    ],
)
def test_value(name: str, value: Any, field: Any) -> None:
    assert set_fault(name, value) == field


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [("busy_sends", "3", 3), ("busy", "2", 2), ("busy", None, 1), ("refused", None, ALWAYS), ("busy_reads", 4, 4)],
)
def test_number_of_times(name: str, value: Any, left: int) -> None:
    assert set_fault(name, value).left == left


def test_nth_and_times_by_type() -> None:
    drop = set_fault("drop_after_answer", "2")
    assert [drop.take(), drop.take(), drop.take()] == [False, True, False]
    for value in ("sendMsg:2", {"sendMsg": 2}):
        silence = set_fault("silence", value)
        assert [silence.take("sendMsg"), silence.take("getGroups"), silence.take("sendMsg")] == [True, False, True]
    assert set_fault("silence", "sendMsg").take("sendMsg")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("bussy", "3", 'no fault is called "bussy"; did you mean busy'),
        ("", None, 'no fault is called ""'),
        ("paging", "1", 'no fault is called "paging"'),
        ("busy_sends", "x", 'busy_sends: "x": expected N or always'),
        ("busy", "-1", "expected N or always"),
        ("busy", 1.5, "expected N or always"),
        ("busy", True, "expected N or always"),
        ("late", None, "needs a value: a time like 4s"),
        ("late", "soon", 'extra_verdict_delay_seconds: "soon": expected a time like 4s'),
        ("late", True, "expected a time like 4s"),
        ("late", "-1s", "expected a time like 4s"),
        ("in_doubt", "3", "in_doubt: takes no value, it is verdict swallowed"),
        ("verdict", "maybe", "expected sent or not_sent or"),
        ("verdict", "off", "expected sent or"),
        ("no_echo", "maybe", "expected on or off"),
        ("no_echo", 1, "expected on or off"),
        ("no_echo", [], "expected on or off"),
        ("paging.short_by", "many", "expected an integer"),
        ("paging.unreadable", ["no_uid"], "expected off or no_uid"),
        ("silence", "", "expected TYPE or TYPE:N"),
        ("silence", "sendMsg:x", "expected TYPE or TYPE:N"),
        ("silence", 3, "expected TYPE or TYPE:N"),
        ("refusal", "{", "expected a code, or the whole error as JSON"),
        ("refusal", [1], "expected a code"),
        ("verdict", "x" * 500, "..."),
    ],
)
def test_what_cannot_be_is_one_line_that_says_what_would_be_right(name: str, value: Any, words: str) -> None:
    with pytest.raises(BadFault) as caught:
        read_setting(Faults(), name, value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_value_is_made_anew_each_time() -> None:
    """A countdown that was used up by one message is whole for the next."""
    knob, _ = find_knob(Faults(), "busy_sends")
    first, second = knob.read_value("1"), knob.read_value("1")
    assert (first.take(), second.take()) == (True, True)


def test_a_length_of_time_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"soon.*expected a time"):
        parse_seconds("soon")
