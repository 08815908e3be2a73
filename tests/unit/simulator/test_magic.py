"""Texts that ask for faults: for their message alone, or for the whole bridge."""

from __future__ import annotations

from typing import Any

import pytest

from worker68.simulator import Faults
from worker68.simulator.knobs import BadFault
from worker68.simulator.magic import MagicTexts


def send(text: str, custom_msg_id: str | None = "10000000001") -> dict[str, Any]:
    data: dict[str, Any] = {"id": 1, "type": "group", "list": [{"type": "text", "values": {"content": text}}]}
    return {"id": "1", "type": "sendMsg", "data": data | ({"custom_msg_id": custom_msg_id} if custom_msg_id else {})}


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def magic(faults: Faults) -> MagicTexts:
    return MagicTexts(faults)


def test_a_text_that_asks_for_nothing_has_the_faults_of_the_bridge(magic: MagicTexts, faults: Faults) -> None:
    for text in ("hello", "sim:busy", "! sim:busy", "!SIM:busy"):
        assert magic.faults_of(send(text)) is faults


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("!sim:in_doubt", "verdict", "swallowed"),
        ("before !sim:not_sent behind", "verdict", "not_sent"),
        ("!sim:late:4s", "extra_verdict_delay_seconds", 4.0),
        ("!sim:blocked", "verdict", "blocked"),
        ("two lines\\n!sim:late:4s\\nthe last", "extra_verdict_delay_seconds", 4.0),
        ("!sim:no_reply_to_sends", "no_reply_to_sends", True),
        ('!sim:refusal:{"errorCode":7}', "refusal", {"errorCode": 7}),
    ],
)
def test_a_fault_for_one_message(magic: MagicTexts, faults: Faults, text: str, field: str, value: object) -> None:
    assert getattr(magic.faults_of(send(text)), field) == value
    assert getattr(faults, field) == getattr(Faults(), field)
    assert magic.faults_of(send("another", "10000000002")) is faults


def test_several_in_one_text(magic: MagicTexts) -> None:
    own = magic.faults_of(send("!sim:late:1s !sim:no_echo"))
    assert (own.extra_verdict_delay_seconds, own.no_echo) == (1.0, True)


def test_a_number_of_times_counts_the_tries_of_the_message(magic: MagicTexts) -> None:
    tries = [magic.faults_of(send("!sim:busy:2")).busy_sends.take() for _ in range(3)]
    assert tries == [True, True, False]
    assert magic.faults_of(send("!sim:busy:2", "10000000002")).busy_sends.take(), "another message has its own"


def test_without_an_id_it_is_the_same_message_that_asks_for_the_same(magic: MagicTexts) -> None:
    assert [magic.faults_of(send("!sim:busy:1", None)).busy_sends.take() for _ in range(2)] == [True, False]
    assert magic.faults_of(send("!sim:busy:1 ", None)).busy_sends.take()


def test_the_id_of_a_file_stands_elsewhere(magic: MagicTexts) -> None:
    frame = {"id": "1", "type": "sendFile", "data": {"file": "C:/!sim:in_doubt"}, "custom_msg_id": "10000000001"}
    assert magic.faults_of(frame).verdict == "swallowed"


def test_what_concerns_the_bridge_holds_for_it_until_it_is_cleared(magic: MagicTexts, faults: Faults) -> None:
    magic.faults_of(send("!sim:logged_out !sim:paging.short_by:2"))
    assert (faults.logged_out, faults.paging.short_by) == (True, 2)
    magic.faults_of(send("!sim:clear", "10000000002"))
    assert (faults.logged_out, faults.paging.short_by) == (False, 0)


def test_other_faults_of_the_bridge_hold_beside_those_of_the_message(magic: MagicTexts, faults: Faults) -> None:
    faults.no_echo = True
    faults.busy_reads.set(1)
    own = magic.faults_of(send("!sim:late:1s"))
    assert own.no_echo
    assert own.busy_reads is faults.busy_reads


@pytest.mark.parametrize("text", ["!sim:bussy", "!sim:", "!sim:busy:x", "!sim:late", "fine !sim:no_echo !sim:nothing"])
def test_a_text_that_asks_for_what_is_none_is_refused_and_turns_nothing(
    magic: MagicTexts, faults: Faults, text: str
) -> None:
    with pytest.raises(BadFault):
        magic.faults_of(send(text))
    assert not faults.no_echo


@pytest.mark.parametrize("data", [None, "!sim:in_doubt", ["!sim:in_doubt"], {"a": {"b": ["!sim:in_doubt"]}}])
def test_any_frame_may_ask(magic: MagicTexts, faults: Faults, data: Any) -> None:
    own = magic.faults_of({"id": "1", "type": "request", "data": data})
    assert own.verdict == ("sent" if data is None else "swallowed")


def test_only_so_many_messages_are_remembered(magic: MagicTexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker68.simulator.magic._REMEMBERED", 2)
    for number in range(5):
        magic.faults_of(send("!sim:busy:1", f"1000000000{number}"))
    assert len(magic._asked) == 2
