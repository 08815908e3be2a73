"""``worker68 pause`` stops an account and says whether its worker has stopped; ``resume`` lets it go on; both keep who and why."""

from __future__ import annotations

import json
import os
import socket
import threading

import pytest
import redis

from tests.integration.cli.conftest import Ask, put_account
from tests.parts.jobs import message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.worker import wait_until
from tests.unit.cli.conftest import Run, check_refused
from worker68.cli.pause import who
from worker68.store import pauses

WHY = ("--reason", "the client shows a warning")


def test_without_an_owner_it_holds_at_once(ask: Ask, ledger: Ledger) -> None:
    done = ask(0, "pause", "main", *WHY)
    assert (done.exit_code, done.stderr) == (0, "")
    pause = pauses.find_pause(ledger.engine, "main")
    assert pause is not None
    assert (pause.reason, pause.paused_by, pause.seen_by) == (WHY[1], who(), None)
    assert done.stdout.splitlines() == [
        f"main is now {pause.words}",
        "no worker owns the account; the next one will not write either",
    ]


def test_it_waits_until_the_owner_has_stopped(
    ask: Ask, ledger: Ledger, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker68.cli.pause.ANSWER_SECONDS", 60.0)
    client.set("worker68:lease:account:main", "host-1|1")

    def take_note() -> None:
        pause = wait_until(lambda: pauses.find_pause(ledger.engine, "main"))
        assert pause is not None
        pauses.note_seen(ledger.engine, pause.id, "host-1")

    owner = threading.Thread(target=take_note)
    owner.start()
    done = ask(0, "pause", "main", *WHY)
    owner.join()
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1:] == [
        "worker host-1 has stopped writing; what was written before ends as it would have"
    ]


@pytest.mark.parametrize("redis_answers", [True, False])
def test_an_owner_that_does_not_answer_is_not_waited_for_without_end(
    run: Run,
    redis_url: str,
    sqlite_url: str,
    ledger: Ledger,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    redis_answers: bool,
) -> None:
    """Where Redis does not answer there may be an owner."""
    monkeypatch.setattr("worker68.cli.pause.ANSWER_SECONDS", 0.1)
    monkeypatch.setattr("worker68.cli.pause.MARGIN_SECONDS", 0.0)
    client.set("worker68:lease:account:main", "host-1|1")
    url = redis_url if redis_answers else "redis://127.0.0.1:1/0"
    done = run("pause", "main", *WHY, REDIS_URL=url, DATABASE_URL=sqlite_url, BRIDGE_URL="ws://127.0.0.1:1")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("its worker has not answered, but stops writing when ")
    assert list(pauses.list_pauses(ledger.engine)) == ["main"]


def test_the_first_word_stays(ask: Ask, ledger: Ledger) -> None:
    first = json.loads(ask(0, "pause", "main", *WHY, "--json").stdout)
    assert (first["account"], first["reason"], first["new"]) == ("main", WHY[1], True)
    again = json.loads(ask(0, "pause", "main", "--reason", "another", "--json").stdout)
    assert again == first | {"new": False}
    assert ask(0, "pause", "main", "--reason", "another").stdout.startswith(f"main is paused by {who()} since ")


def test_a_paused_account_goes_on_once(ask: Ask, ledger: Ledger) -> None:
    ask(0, "pause", "main", *WHY)
    pause = pauses.find_pause(ledger.engine, "main")
    assert pause is not None
    resume = ("resume", "main", "--reason", "logged in again")
    assert ask(0, *resume).stdout == f"main goes on; it was {pause.words}\n"
    assert pauses.list_pauses(ledger.engine) == {}
    assert ask(0, *resume).stdout == "main was not paused\n"


def test_programs_read_what_was_ended(ask: Ask, ledger: Ledger) -> None:
    ask(0, "pause", "main", *WHY)
    resume = ("resume", "main", "--reason", "logged in again", "--json")
    ended, nothing = (json.loads(ask(0, *resume).stdout) for _ in range(2))
    assert (ended["account"], ended["was_paused"]["reason"]) == ("main", WHY[1])
    assert nothing == {"account": "main", "was_paused": None}


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_an_account_that_is_not_known_is_refused(ask: Ask, ledger: Ledger, command: str) -> None:
    put_account(ledger, "shop", {"bridge_url": "ws://127.0.0.1:2"})
    refused = ask(0, command, "mian", "--reason", "a slip")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == (
        "worker68: no account 'mian': settings and database have main, shop, and no job in the database is its\n"
    )
    assert pauses.list_pauses(ledger.engine) == {}
    assert ask(0, command, "shop", "--reason", "no slip").exit_code == 0


def test_an_account_of_other_settings_is_known_by_its_jobs_or_its_owner(
    ask: Ask, ledger: Ledger, client: redis.Redis
) -> None:
    ledger.arrive(message(kwargs=send_fields(account="other")))
    assert ask(0, "pause", "other", *WHY).exit_code == 0
    client.set("worker68:lease:account:kiosk", "host-1|1")
    assert ask(0, "resume", "kiosk", "--reason", "x").stdout == "kiosk was not paused\n"


def test_a_terminal_obeys_no_reason(ask: Ask, ledger: Ledger) -> None:
    reason = ("--reason", "\x1b[31mred\nline")
    said = ask(0, "pause", "main", *reason).stdout + ask(0, "resume", "main", *reason).stdout
    assert "\x1b" not in said
    assert [line.endswith("[31mred line") for line in said.splitlines()] == [True, False, True]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pause", "main"), "Missing option '--reason'"),
        (("pause", "main", "--reason", " "), "'--reason': say why, in words"),
        (("resume", "main", "--reason", ""), "'--reason': say why, in words"),
        (("resume", "main"), "Missing option '--reason'"),
    ],
)
def test_without_a_reason_nothing_is_done(run: Run, words: tuple[str, ...], told: str) -> None:
    check_refused(run(*words), told)


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is in no /etc/passwd."""

    def fail() -> str:
        raise KeyError("getpwuid(): uid not found")

    assert who().endswith(f"@{socket.gethostname()}")
    monkeypatch.setattr("getpass.getuser", fail)
    assert who() == f"user {os.getuid()}@{socket.gethostname()}"
