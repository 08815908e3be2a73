"""A wait for the database that is broken off: what was seen lies in Redis, for the account's next owner."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.parts.ledger import SENT
from tests.parts.onloop import let_run, run
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.recorder import Ended, Kept, Note, Recorder
from worker68.loop import Loop, Stopping
from worker68.store.statements.attempts import AttemptKey

NOTE = Ended(AttemptKey(seq=1, number=1, owner="one", fence=1), SENT)


def test_what_a_database_that_hangs_did_not_take_is_kept(reader: Any) -> None:
    kept = Kept(reader)

    async def break_off() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        handed_in = asyncio.Event()

        async def hang() -> None:
            handed_in.set()
            await asyncio.Event().wait()

        way = asyncio.create_task(Recorder("main", kept, Stopping(loop)).until_written(hang, NOTE))
        await handed_in.wait()
        way.cancel()
        with pytest.raises(asyncio.CancelledError):
            await way

    run(break_off())
    assert kept.load("main") == [NOTE]


def test_what_redis_did_not_take_at_first_is_kept_as_well(reader: Any) -> None:
    """The database is away, and so was Redis when it was asked to keep the note; it is back when the process ends."""
    kept = Kept(reader)

    class AwayAtFirst(Kept):
        def __init__(self) -> None:
            super().__init__(reader)
            self.asked = asyncio.Event()

        def keep(self, account: str, note: Note) -> None:
            if not self.asked.is_set():
                loop.call_soon_threadsafe(self.asked.set)
                raise RedisAway("it does not answer")
            super().keep(account, note)

    async def refuse() -> None:
        raise DatabaseAway("it does not answer")

    async def break_off() -> None:
        away = AwayAtFirst()
        way = asyncio.create_task(Recorder("main", away, Stopping(loop)).until_written(refuse, NOTE))
        await away.asked.wait()
        await let_run()
        way.cancel()
        with pytest.raises(asyncio.CancelledError):
            await way

    with contextlib.closing(Loop()) as loop:
        loop.run_until_complete(break_off())
    assert kept.load("main") == [NOTE]
