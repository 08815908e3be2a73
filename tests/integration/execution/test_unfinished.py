"""Which accounts have had unfinished jobs for a while: one question for all, now and then."""

from __future__ import annotations

import asyncio

import pytest

from tests.parts.ledger import Ledger
from tests.parts.onloop import one_loop, run
from worker68.execution import unfinished as module
from worker68.execution.unfinished import Unfinished
from worker68.loop import Loop


def test_an_account_is_found_whose_jobs_were_there_at_the_question_before(sqlite: Ledger) -> None:
    found, owned = list[str](), ["main", "other"]
    with one_loop() as loop:
        unfinished = Unfinished(sqlite.engine, lambda: owned, found.append, loop)
        sqlite.send(account="other")
        run(unfinished.ask())
        assert found == []
        sqlite.send()
        run(unfinished.ask())
        assert found == ["other"], "the job of main has just come"
        owned.remove("other")
        run(unfinished.ask())
        assert found == ["other", "main"], "other has another owner now"


def test_it_asks_until_it_is_stopped(sqlite: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.001)
    sqlite.send()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        found = asyncio.Event()
        unfinished = Unfinished(sqlite.engine, lambda: ["main"], lambda account: found.set(), loop)
        service = loop.create_task(unfinished.run())
        await asyncio.wait_for(found.wait(), 60)
        unfinished.stop()
        await asyncio.wait_for(service, 60)

    run(serve())
