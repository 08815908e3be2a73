"""A batch through intake into the tables: each message has its end there, and a bad one costs no other."""

from __future__ import annotations

import json

import pytest

from tests.parts.jobs import SYNC, message, send_fields
from tests.parts.ledger import Ledger
from worker68.errors import DatabaseRefused
from worker68.execution import intake as intake_module
from worker68.store.intake import Entry, take_in


def test_every_message_of_a_mixed_batch_has_its_end(ledger: Ledger) -> None:
    made = ledger.arrive(
        message(task_id="sent"),
        b"garbage",
        message(kwargs=send_fields(text=5), task_id="invalid"),
        message("worker68.later", {}, task_id="later"),
        message(kwargs=send_fields(account="nobody"), task_id="nobody"),
        message(kwargs=send_fields(reply_to="no such place"), task_id="unaddressed"),
        message(SYNC, {}, task_id="read"),
        queue=None,
    )
    assert [job.task_id for job in made] == ["sent", "read"]
    assert sorted(ledger.told()) == [
        "invalid: invalid_job",
        "nobody: unknown_account",
        "unaddressed: invalid_job",
    ]
    dead = [json.loads(parcel.payload) for parcel in ledger.parcels("dead")]
    assert [entry["task_id"] for entry in dead] == [None, "unaddressed"]
    assert len(ledger.rows()) == 6


def test_a_message_that_the_database_refuses_is_set_aside_alone(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(engine: object, entries: list[Entry], *rest: object) -> object:
        if any(entry.requester.task_id == "poison" for entry in entries):
            raise DatabaseRefused("it holds what cannot be kept")
        return take_in(engine, entries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(intake_module, "take_in", picky)
    made = ledger.arrive(message(task_id="a"), message(task_id="poison"), message(task_id="b"))
    assert [job.task_id for job in made] == ["a", "b"]
    (entry,) = [json.loads(parcel.payload) for parcel in ledger.parcels("dead")]
    assert entry["reason"] == "the database refused its content"
    assert json.loads(entry["message"])["headers"]["id"] == "poison"


def test_intakes_jobs_are_those_that_the_tables_hold(ledger: Ledger) -> None:
    made = ledger.arrive(message(kwargs=send_fields(metadata={"a": 1})), message(SYNC, {}))
    assert [row.seq for row in ledger.rows()] == [job.seq for job in made]
    assert ledger.lane() == [job.seq for job in made]
