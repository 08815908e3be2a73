"""The records of what came in and went out: read as a copy, waited for, written to a file."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from worker68.simulator.records import Journal, Received, RecordFile, Sent


def sent(text: str) -> Sent:
    return Sent(1.5, 1, "group", 389284, text, "12345678901", 7, 0)


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
    journal.wait_for(lambda one: len(one) == 1, timeout_seconds=60)
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
