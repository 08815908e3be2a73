"""Which accounts have unfinished jobs: one question for all, now and then."""

from __future__ import annotations

import pytest

from tests.parts.clock import Clock
from tests.parts.ledger import Ledger
from tests.parts.onloop import run
from worker68.execution.unfinished import ASK_SECONDS, Unfinished


def test_one_answer_serves_all_accounts_for_some_seconds(sqlite: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.execution.unfinished")
    unfinished = Unfinished(sqlite.engine, ["main", "other"])
    sqlite.send(account="other")
    assert not run(unfinished.has("other"))
    clock.pass_by(ASK_SECONDS)
    sqlite.send()
    assert run(unfinished.has("other"))
    assert not run(unfinished.has("main")), "it has just come"
    clock.pass_by(ASK_SECONDS / 2)
    assert not run(unfinished.has("main"))
    clock.pass_by(ASK_SECONDS / 2)
    assert run(unfinished.has("main"))
