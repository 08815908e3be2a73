"""A batch through intake into the tables: each message has its end there, and a bad one costs no other."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.parts.jobs import NOW, SYNC, account, message, send_fields
from tests.parts.ledger import Ledger
from worker68.errors import DatabaseAway, DatabaseRefused
from worker68.execution import intake as intake_module
from worker68.execution.intake import Arrival, Intake, unknown_task_outcome
from worker68.jobs import envelope as envelope_module
from worker68.jobs.job import Job
from worker68.jobs.states import Event
from worker68.store.intake import Dead, Entry, Taken, take_in
from worker68.store.waiting import Parked, end_waiting


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
    dead = [json.loads(entry.payload) for entry in ledger.in_outbox("dead")]
    assert [entry["task_id"] for entry in dead] == [None, "unaddressed"]
    assert len(ledger.rows()) == 6


@pytest.mark.parametrize(
    ("raw", "account"),
    [
        (message(kwargs=send_fields(account="other")), "other"),
        (message(), "main"),
        (message(kwargs=send_fields(text=5)), "main"),
        (message("worker68.later", {}), "main"),
        (message(kwargs=send_fields(account="nobody")), None),
        (message(kwargs=send_fields(account=["main"])), None),
        (b"garbage", None),
    ],
)
def test_a_message_of_the_front_door_belongs_to_an_account_of_the_settings_or_to_none(
    sqlite: Ledger, raw: bytes, account: str | None
) -> None:
    assert sqlite.intake.accounts_of([Arrival(raw, "worker68", None)]) == [account]


def test_the_database_is_asked_once_more_before_an_account_is_unknown(sqlite: Ledger) -> None:
    known, looks = {"main": account()}, 0

    def look() -> list[str]:
        nonlocal looks
        looks += 1
        known["new"] = account("new")
        return ["newer"]

    door = Intake(sqlite.engine, known, look)
    named = [message(kwargs=send_fields(account=name)) for name in ("main", "new", "nobody", "newer", "new")]
    arrivals = [Arrival(raw, "worker68", None) for raw in named]
    assert door.accounts_of(arrivals[:1]) == ["main"]
    assert looks == 0, "it is not asked for those that are known"
    assert door.accounts_of(arrivals) == ["main", "new", None, "newer", "new"]
    assert looks == 1, "once for a batch"
    assert "newer" not in known, "it is no unknown account, though this worker cannot use it"


def test_a_parked_job_whose_account_was_removed_stays(sqlite: Ledger) -> None:
    sqlite.arrive(message("worker68.later", {}, task_id="later"))
    (row,) = sqlite.rows()
    assert Intake(sqlite.engine, {}).revive("main", [Parked(row.seq, row.task, row.envelope)], NOW) == []
    assert sqlite.row(row.seq).state == "deferred"


#: Rules that an operator's database may have and worker68 does not know. PostgreSQL calls its limits (class 54) "operational".
TRIGGERS = {
    "sqlite": """CREATE TRIGGER picky BEFORE INSERT ON jobs WHEN new.job_id LIKE 'poison%' AND new.envelope IS NOT NULL
        BEGIN SELECT RAISE(ABORT, 'no such words here'); END""",
    "postgresql": """CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF new.job_id LIKE 'poison%%' AND new.envelope IS NOT NULL
        THEN RAISE EXCEPTION 'no' USING ERRCODE = right(new.job_id, 5); END IF;
        RETURN new; END $$; CREATE TRIGGER picky BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION picky()""",
}


def poisoned_batch(*poisons: str) -> list[bytes]:
    return [
        *(message(task_id=f"before-{number}") for number in range(3)),
        *(message(kwargs=send_fields(reply_to="orders"), task_id=poison) for poison in poisons),
        *(message(task_id=f"after-{number}") for number in range(3)),
    ]


def check_that_these_alone_are_set_aside(
    ledger: Ledger, made: list[Job], *poisons: str, answered: bool = True
) -> list[str]:
    """Return the reasons."""
    assert [job.task_id for job in made] == [f"{when}-{number}" for when in ("before", "after") for number in range(3)]
    assert ledger.lane() == [job.seq for job in made]
    dead = [json.loads(entry.payload) for entry in ledger.in_outbox("dead")]
    raw = [one["message"].encode() if "message" in one else base64.b64decode(one["message_base64"]) for one in dead]
    assert [json.loads(one)["headers"]["id"] for one in raw] == list(poisons)
    assert ledger.told() == ([f"{poison}: invalid_job" for poison in poisons] if answered else [])
    return [one["reason"] for one in dead]


def test_a_message_that_the_database_refuses_is_set_aside_alone(ledger: Ledger) -> None:
    ledger.run(lambda connection: connection.exec_driver_sql(TRIGGERS[ledger.engine.dialect.name]))
    poisons = ("poison-P0001", "poison-54000", "poison-22P05", "poison-38000")

    made = ledger.arrive(*poisoned_batch(*poisons))

    reasons = check_that_these_alone_are_set_aside(ledger, made, *poisons)
    assert set(reasons) == {"the database refused its content"}


def test_a_message_that_is_too_large_is_set_aside_alone_without_what_it_holds(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database would not take it in any form."""
    monkeypatch.setattr(envelope_module, "MESSAGE_LIMIT", 20_000)
    large = message(kwargs=send_fields(text="x" * 20_000), task_id="large")
    before, *batch, after = message(task_id="before"), large, b"\xff" * 20_001, message(task_id="after")

    made = ledger.arrive(before, *batch, after)

    assert [job.task_id for job in made] == ["before", "after"]
    assert ledger.told() == ["large: invalid_job"]
    dead = [json.loads(entry.payload) for entry in ledger.in_outbox("dead")]
    assert [(one["task_id"], one["end"][-1]) for one in dead] == [("large", "}"), (None, "f")]
    for one, raw in zip(dead, batch, strict=True):
        assert one["reason"] == f"the message has {len(raw)} bytes; at most 20000 are taken"
        assert "message" not in one
        assert "message_base64" not in one


def test_a_table_that_is_missing_is_no_messages_fault(ledger: Ledger) -> None:
    ledger.run(lambda connection: connection.exec_driver_sql("ALTER TABLE jobs RENAME TO elsewhere"))
    with pytest.raises(DatabaseAway):
        ledger.arrive(*poisoned_batch("poison"))
    assert ledger.in_outbox() == []


@pytest.mark.parametrize("answerable", [True, False])
def test_whatever_a_message_raises_on_its_way_to_the_database_it_is_set_aside_alone(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, answerable: bool
) -> None:
    """As the driver did with a text that the connection's encoding does not have."""

    def picky(engine: object, entries: list[Entry], *rest: object) -> object:
        poison = [entry for entry in entries if entry.requester.task_id == "poison"]
        if any(entry.is_job or not answerable for entry in poison):
            raise UnicodeEncodeError("latin-1", "你好", 0, 2, "secret")
        return take_in(engine, entries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(intake_module, "take_in", picky)
    made = ledger.arrive(*poisoned_batch("poison"))

    (reason,) = check_that_these_alone_are_set_aside(ledger, made, "poison", answered=answerable)
    assert "UnicodeEncodeError" in reason
    assert "secret" not in reason


def test_an_account_that_is_removed_between_two_halves_of_a_batch_costs_no_job_of_the_first(
    sqlite: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message was read before: the batch is written as a whole, or given back as a whole."""
    accounts = {"main": account(), "other": account("other")}

    def refuse_together(engine: Engine, entries: Sequence[Entry], *more: Any) -> list[Taken | None]:
        if len(entries) > 1:
            raise ValueError("too many")
        accounts.pop("other", None)
        return take_in(engine, entries, *more)

    monkeypatch.setattr(intake_module, "take_in", refuse_together)
    batch = [Arrival(message(kwargs=send_fields(account=name)), f"worker68.{name}", name) for name in ("main", "other")]
    taken = Intake(sqlite.engine, accounts).take_in(batch, NOW)
    assert [job.seq for job in taken] == [row.seq for row in sqlite.rows()]


def test_an_error_that_every_batch_raises_sets_nothing_aside(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(intake_module, "take_in", broken)
    with pytest.raises(RuntimeError):
        ledger.arrive(*poisoned_batch("poison"))
    assert ledger.in_outbox() == []


def chained(*ids: str) -> bytes:
    """Return the first message of a chain, as Celery writes it."""
    rest = [{"task": SYNC, "args": [], "kwargs": {}, "options": {"task_id": id_}} for id_ in reversed(ids[1:])]
    raw = json.loads(message(SYNC, {}, task_id=ids[0]))
    raw["body"] = base64.b64encode(json.dumps([[], {}, {"chain": rest}]).encode()).decode()
    return json.dumps(raw).encode()


def test_each_task_of_a_chain_gets_the_failure_as_its_result(ledger: Ledger) -> None:
    """Else whoever waits for the last one would wait for ever."""
    assert ledger.arrive(chained("first", "second", "third")) == []
    assert sorted(ledger.told()) == ["first: invalid_job", "second: invalid_job", "third: invalid_job"]
    (row,) = ledger.rows()
    assert "chain: " in row.error_message
    assert "reply_to" in row.error_message


def test_each_task_of_a_chain_gets_the_failure_also_where_the_database_refuses_the_first_message(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(engine: Engine, entries: Sequence[Entry], dead: Sequence[Dead], *rest: Any) -> list[Taken | None]:
        if not dead:
            raise DatabaseRefused("no such words here")
        return take_in(engine, entries, dead, *rest)

    monkeypatch.setattr(intake_module, "take_in", picky)
    assert ledger.arrive(chained("first", "second", "third")) == []
    assert sorted(ledger.told()) == ["first: invalid_job", "second: invalid_job", "third: invalid_job"]
    assert len(ledger.in_outbox("dead")) == 1


def test_an_answer_to_a_message_that_made_no_job_has_revision_0(ledger: Ledger) -> None:
    ledger.settled(job_id="done", reply_to="orders")
    ledger.clear_outbox()
    ledger.arrive(
        message(kwargs=send_fields(job_id="done", text="other", reply_to="orders"), task_id="conflict"),
        message(kwargs=send_fields(job_id="done", text="", reply_to="orders"), task_id="invalid"),
        message(kwargs=send_fields(job_id="done", account="nobody", reply_to="orders"), task_id="nobody"),
        message(kwargs=send_fields(expires_at=5, reply_to="orders"), task_id="expired"),
    )
    replies = {reply["task_id"]: (reply["revision"], reply["reason"]) for _, reply in ledger.replies()}
    assert replies == {
        "conflict": (0, None),
        "invalid": (0, None),
        "nobody": (0, None),
        "expired": (1, "it had expired when it arrived"),
    }
    assert next((row.job_id, row.revision) for row in ledger.rows()) == ("done", 1)


def test_a_job_of_an_account_that_was_unknown_runs_when_it_comes_again(ledger: Ledger) -> None:
    raw = message(kwargs=send_fields(job_id="j", account="late"), task_id="t")
    assert ledger.arrive(raw) == []
    door = Intake(ledger.engine, {"late": account("late")})
    (job,) = door.take_in([Arrival(raw, "worker68", None)], NOW)
    assert job.job_id == "j"


def test_an_unknown_task_is_deferred_with_its_reason_and_then_invalid(ledger: Ledger) -> None:
    ledger.arrive(message("worker68.send_mesage", send_fields(reply_to="orders"), task_id="t"))
    (entry,) = ledger.in_outbox("deferred")
    waiting = json.loads(entry.payload)
    assert (entry.address, waiting["status"]) == ("t", "DEFERRED")
    assert "did you mean worker68.send_message?" in waiting["result"]["reason"]

    ended = end_waiting(
        ledger.engine, [ledger.rows()[0].seq], Event.REFUSE, unknown_task_outcome("worker68.send_mesage"), NOW
    )

    assert len(ended) == 1
    ((_, reply),) = ledger.replies()
    assert (reply["error"]["code"], reply["revision"]) == ("invalid_job", 0)
    assert "did you mean 'worker68.send_message'?" in reply["error"]["message"]


def test_intakes_jobs_are_those_that_the_tables_hold(ledger: Ledger) -> None:
    made = ledger.arrive(message(kwargs=send_fields(metadata={"a": 1})), message(SYNC, {}))
    assert [row.seq for row in ledger.rows()] == [job.seq for job in made]
    assert ledger.lane() == [job.seq for job in made]
