"""A wait for the database that is broken off: what was seen lies in Redis, for the account's next owner."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.parts.ledger import SENT
from tests.parts.onloop import run
from worker68.execution.kept import Ended, Kept
from worker68.execution.recorder import Recorder
from worker68.jobloop import JobLoop, Stopping
from worker68.store.attempts import AttemptKey

NOTE = Ended(AttemptKey(seq=1, number=1, owner="one", fence=1), SENT)


def test_what_a_database_that_hangs_did_not_take_is_kept(reader: Any) -> None:
    kept = Kept(reader)

    async def break_off() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JobLoop)
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
