"""A job is found by what a person gives: a whole id, its beginning, a number; several that are meant are listed."""

from __future__ import annotations

import json

import click
import pytest
import redis
from sqlalchemy import func, select

from tests.integration.cli.conftest import Ask, fill
from tests.parts.jobs import message, send_fields
from tests.parts.ledger import Ledger
from worker68.cli.identify import find_job
from worker68.jobs.job import Job
from worker68.store.engine import reading
from worker68.store.tables import cancellations


@pytest.mark.parametrize("width", [0, 80, 120])
def test_each_short_id_is_taken_by_every_command(
    ask: Ask, ledger: Ledger, client: redis.Redis, backlog: list[Job], width: int
) -> None:
    fill(ledger, client)
    table = ask(width, "jobs", "list", "--limit", "100").stdout.partition("\n\n")[2]
    ids = [line.split()[0] for line in table.splitlines()[1:] if line[0] != " "]
    known = {row.job_id for row in ledger.rows()}
    shown = {json.loads(ask(width, "jobs", "show", id_, "--json").stdout)["job"]["job_id"] for id_ in ids}
    assert shown == known
    done = ask(width, "jobs", "cancel", backlog[5].job_id[:8])
    assert (done.exit_code, done.stdout) == (0, f"cancelled {backlog[5].job_id}\n")
    if width == 0:
        assert set(ids) == known, "a program that reads a pipe gets whole ids"


ONE, TWO = "7b1f0c9e-3f0e-4a53-9d0f-6f3f6a2e1f57", "7b1f0c9e-4a53-4a53-9d0f-6f3f6a2e1f57"


@pytest.mark.parametrize(
    ("given", "named"),
    [("7b1f0c", [ONE, TWO]), ("order-", ["order-1", "order-2"]), ("twice", ["main", "other"]), ("@1", ["@1", "@2"])],
)
@pytest.mark.parametrize("words", [("show",), ("cancel",)])
def test_an_id_that_may_be_several_lists_them(
    ask: Ask, ledger: Ledger, words: tuple[str, ...], given: str, named: list[str]
) -> None:
    for job_id in ("first", "@1", ONE, TWO, "order-1", "order-2", "twice"):
        ledger.send(job_id=job_id)
    ledger.send(job_id="twice", account="other")
    done = ask(80, "jobs", *words, given)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert all(name in done.stderr for name in named)
    assert {row.state for row in ledger.rows()} == {"ready"}


def test_a_whole_id_counts_before_the_beginning_of_another(ask: Ask, ledger: Ledger) -> None:
    for job_id in ("order-1", "order-11"):
        ledger.send(job_id=job_id)
    assert json.loads(ask(80, "jobs", "show", "order-1", "--json").stdout)["job"]["job_id"] == "order-1"
    assert ask(80, "jobs", "show", "order-2").exit_code == 1
    assert ask(80, "jobs", "show", "@4711").exit_code == 1
    assert ask(80, "jobs", "show", f"@{'9' * 40}").exit_code == 1
    assert ask(80, "jobs", "show", "orde").exit_code == 1, "too short to be meant"


def test_no_job_is_cancelled_by_the_beginning_of_an_id_that_is_no_uuid(ask: Ask, ledger: Ledger) -> None:
    """A letter short, it may be the id of another job, which has not come yet."""
    ledger.send(job_id="order-4719")
    assert json.loads(ask(80, "jobs", "show", "order-471", "--json").stdout)["job"]["job_id"] == "order-4719"
    done = ask(80, "jobs", "cancel", "order-471")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no job 'order-471' yet" in done.stderr
    assert [row.state for row in ledger.rows()] == ["ready"]


def test_a_number_that_no_job_has_is_not_kept_for_a_message_to_come(ask: Ask, ledger: Ledger) -> None:
    done = ask(80, "jobs", "cancel", "@4711")
    assert (done.exit_code, done.stderr) == (1, "worker68: no job '@4711' in this database\n")
    with reading(ledger.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(cancellations)) == 0


def test_it_is_found_by_a_message_that_asked_for_it_and_by_its_number(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id="first-message"))
    ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id="second-message"))
    for given in ("order-1", "first-message", "second-message", "order-", f"@{job.seq}"):
        found = find_job(ledger.engine, given)
        assert found is not None, given
        assert found.job.seq == job.seq
    assert find_job(ledger.engine, "third-message") is None


@pytest.mark.parametrize("given", ["twice", "twice-", "@2"])
def test_it_is_looked_for_in_one_account_where_that_is_said(ledger: Ledger, given: str) -> None:
    ledger.send(job_id="twice" if given == "twice" else "twice-1")
    other = ledger.send(job_id="twice" if given == "twice" else "twice-2", account="other")
    found = find_job(ledger.engine, given, "other")
    assert found is not None
    assert found.job.seq == other.seq
    assert find_job(ledger.engine, given, "shop") is None


def test_so_many_are_named_and_no_more(ledger: Ledger) -> None:
    for number in range(6):
        ledger.send(job_id=f"order-{number}")
    with pytest.raises(click.UsageError) as several:
        find_job(ledger.engine, "order-")
    assert str(several.value).startswith("'order-' may be more than 5 jobs: order-0 (@1, main, ready); order-1 ")
    assert str(several.value).endswith("; order-4 (@5, main, ready), and more: give more of the id, or the number")
