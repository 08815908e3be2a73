"""The parts that a test turns and reads: faults, garbage, records."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from worker68.simulator.countdown import ALWAYS, Countdown, CountdownByType, Trip
from worker68.simulator.faults import Faults
from worker68.simulator.garbage import GARBAGE, HUGE_BYTES
from worker68.simulator.records import Journal, Received, RecordFile, Sent
from worker68.simulator.spelling import Spelling


def sent(text: str) -> Sent:
    return Sent(1.5, 1, "group", 389284, text, "12345678901", 7, 0)


def test_countdown_holds_for_the_next_n() -> None:
    countdown = Countdown()
    assert not countdown.take()
    countdown.set(2)
    assert [countdown.take() for _ in range(4)] == [True, True, False, False]
    assert countdown.left == 0
    countdown.set(ALWAYS)
    assert all(countdown.take() for _ in range(100))


def test_trip_acts_once_on_the_nth() -> None:
    trip = Trip()
    assert not trip.take()
    trip.set(3)
    assert [trip.take() for _ in range(5)] == [False, False, True, False, False]


def test_countdown_by_type_keeps_types_apart() -> None:
    silence = CountdownByType({"GroupDetail": 1})
    silence.set("sendMsg", 2)
    assert not silence.take("UserInfo")
    assert [silence.take("GroupDetail") for _ in range(2)] == [True, False]
    assert [silence.take("sendMsg") for _ in range(3)] == [True, True, False]


def test_misspelt_fault_is_an_error() -> None:
    faults: Any = Faults()
    with pytest.raises(AttributeError):
        faults.no_ehco = True
    with pytest.raises(AttributeError):
        faults.paging.shrot_by = 1
    with pytest.raises(AttributeError):
        faults.spelling.swaped_ranks = True


def test_clear_turns_everything_back() -> None:
    faults = Faults(no_echo=True, verdict="none")
    faults.busy_sends.set(5)
    faults.paging.repeats.set(5)
    faults.paging.count_off_by = 1
    faults.spelling.swapped_ranks = True
    faults.clear()
    assert (faults.no_echo, faults.verdict, faults.busy_sends.left) == (False, "sent", 0)
    assert (faults.paging.repeats.left, faults.paging.count_off_by) == (0, 0)
    assert faults.spelling == Spelling()


def test_each_garbage_frame_is_what_its_name_says() -> None:
    payloads = {name: make() for name, make in GARBAGE.items()}
    assert len(payloads["huge"].payload) > HUGE_BYTES
    assert {name for name, garbage in payloads.items() if not garbage.text} == {"binary", "binary_json"}
    with pytest.raises(UnicodeDecodeError):
        payloads["invalid_utf8"].payload.decode()
    with pytest.raises(json.JSONDecodeError):
        json.loads(payloads["not_json"].payload)


def test_journal_is_read_as_a_copy() -> None:
    journal: Journal[Sent] = Journal()
    journal.append(sent("a"))
    copy = journal.copy()
    journal.append(sent("b"))
    assert [one.text for one in copy] == ["a"]
    assert [one.text for one in journal] == ["a", "b"]
    assert journal[-1].text == "b"
    journal.clear()
    assert len(journal) == 0


def test_journal_wakes_who_waits_for_it() -> None:
    journal: Journal[Sent] = Journal()
    other = threading.Thread(target=lambda: journal.append(sent("a")))
    other.start()
    journal.wait_for(lambda one: len(one) == 1)
    other.join()


def test_journal_says_when_it_waited_in_vain() -> None:
    journal: Journal[Sent] = Journal()
    with pytest.raises(TimeoutError, match="0 records"):
        journal.wait_for(lambda one: len(one) == 1, timeout_seconds=0)


def test_record_file_gets_lines_of_json_after_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"record":"earlier"}\n')
    file = RecordFile(path)
    file.write(Received(1.0, 2, {"id": "1", "type": "x", "text": "一\n二"}))
    file.write(sent("群\n发"))

    lines = [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()
    ]  # not closed: each line is flushed
    file.close()
    assert [line["record"] for line in lines] == ["earlier", "received", "sent"]
    assert lines[1]["frame"]["text"] == "一\n二"
    assert (lines[2]["text"], lines[2]["custom_msg_id"], lines[2]["chat_id"]) == ("群\n发", "12345678901", 389284)
