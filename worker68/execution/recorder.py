"""Writing down how an attempt went, however long the database is away.

In: a write, and a note of what it would write. Out: the write's result, once it is committed. While the database is away the note
lies in Redis, so that what was seen outlives this worker; it is dropped before the job goes on. Never: an end of the wait while the
worker runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from worker68.clock import Deadline
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.kept import Kept, Note, NotesRefused, try_to_keep
from worker68.loop import Stopping, Waiter
from worker68.observe import outages
from worker68.store.writer import Verb, Writer

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741

#: While the worker stops, a write waits this long for a database that is away: a moment where Redis keeps its note, longer where
#: nothing does.
LAST_WRITE_SECONDS = 15.0
LAST_WRITE_WITH_NOTE_SECONDS = 4.0
#: Between two tries to reach a database, or a Redis, that is away.
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Recorder:
    """Records the attempts of one account. On the loop."""

    account: str
    kept: Kept
    stopping: Stopping

    async def until_written(self, write: Callable[[], Awaitable[T]], note: Note | None = None) -> T:
        """Write, as often as it takes. Raises ``DatabaseAway`` only while the worker stops.

        ``note``: what the next owner is to write down where this worker cannot. It is kept also where the wait is broken off.
        """
        try:
            return await self._until_written(write, note)
        except asyncio.CancelledError:
            # The process ends, and nothing will learn what became of the write: the database may hang, and then refuse it.
            if note is not None:
                await asyncio.to_thread(try_to_keep, self.kept, self.account, note)
            raise

    async def _until_written(self, write: Callable[[], Awaitable[T]], note: Note | None) -> T:
        given_up: Deadline | None = None
        maybe_kept = kept = failed = False
        while True:
            try:
                answer = await write()
            except DatabaseAway as away:
                outages.DATABASE.fails("recorder", away)
                failed = True
                if note is not None and not kept:
                    was_kept = await asyncio.to_thread(try_to_keep, self.kept, self.account, note)
                    kept, maybe_kept = was_kept is True, maybe_kept or was_kept is not False
                if self.stopping.is_set():
                    given_up = given_up or Deadline.after(LAST_WRITE_WITH_NOTE_SECONDS if kept else LAST_WRITE_SECONDS)
                    if given_up.passed:
                        raise
                await self._pause()
            else:
                if failed:  # of those that wait for it, the first
                    outages.DATABASE.works("recorder")
                if note is not None and maybe_kept:
                    await self._forget(note)
                return answer

    async def _forget(self, note: Note) -> None:
        """Drop a note before its job goes on: a later attempt may look the same, and it must not be taken for that one's.

        Also where Redis took the note and now refuses to drop it: until a person has set the key right.
        """
        while True:
            try:
                await asyncio.to_thread(self.kept.forget, self.account, note)
                return outages.REDIS.works("recorder")
            except (RedisAway, NotesRefused) as away:
                outages.REDIS.fails("recorder", away)
                if self.stopping.is_set():
                    return None  # this worker begins no further attempt
                await self._pause()

    async def _pause(self) -> None:
        if self.stopping.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            await self.stopping.rest(PAUSE_SECONDS)


async def written(writer: Writer, verb: Verb[I, T], item: I) -> T:
    """Hand something to the writer and wait until it is committed, as ``Writer.write`` does. On the loop."""
    answer: Waiter[Any] = Waiter()
    writer.hand_in(verb, item, answer.tell)
    result: T = await answer
    return result
