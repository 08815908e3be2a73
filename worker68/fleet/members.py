"""The workers of the fleet, and what each says about itself: kept in Redis, and here as of the last look.

In: this worker's own word. Out: the words of all that live. A look costs what has changed since the last one, not what there is: a
thousand workers look each second. Never: what a word means for the share (``shares``); a wait but for Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec
import redis

from worker68.redis_calls import LuaScript

#: Hash: what each live worker says about itself, as JSON, by its id.
WORDS_KEY: Final = "worker68:fleet:words"
#: With it two sorted sets of workers: until when each word counts, and which have changed lately (``fleet_look.lua``).
FLEET_KEYS: Final = (WORDS_KEY, "worker68:fleet:ends", "worker68:fleet:changes")


class Word(msgspec.Struct, frozen=True):
    """What a worker says about itself. ``accounts``: a digest of those that it knows; ``held``: how many it keeps, by label."""

    accounts: str
    weight: int
    labels: list[str]
    held: Mapping[str, int]


#: Stands for the word of a version that says other things: it counts as one that knows other accounts.
_UNREADABLE: Final = Word("", 1, [], {})


class Members:
    """The words of the live workers, by worker. Each call waits for Redis, or raises ``RedisAway``.

    A worker that has not looked for ``ttl_seconds`` does not live any more; so long its leases last, too.
    """

    def __init__(self, client: redis.Redis, worker_id: str, ttl_seconds: float) -> None:
        self.worker_id = worker_id
        self.ttl_seconds = ttl_seconds
        self._script = LuaScript(client, __package__, "fleet_look.lua")
        self._seen = 0  # the number of the last look
        self.words: Mapping[str, Word] = {}

    def look(self, word: Word, *, anew: bool) -> None:
        """Say this worker's word, and hear the others. Where any has changed, ``words`` is another object.

        ``anew``: hear all, after more than ``ttl_seconds`` without a look.
        """
        said = msgspec.json.encode(word)
        number, live, *changed = self._run(said, 0 if anew else self._seen)
        words = self._with({} if anew else self.words, changed)
        if len(words) != live:  # one has gone, and was not seen to go: Redis has lost its data
            number, live, *changed = self._run(said, 0)
            words = self._with({}, changed)
        self._seen, self.words = number, words

    def leave(self) -> None:
        """Live no more, for the others."""
        self._run(b"", self._seen)

    def _run(self, word: bytes, seen: int) -> list[Any]:
        arguments: list[str | int | bytes] = [self.worker_id, round(self.ttl_seconds * 1000), word, seen]
        return cast("list[Any]", self._script.run(FLEET_KEYS, arguments))

    def _with(self, words: Mapping[str, Word], changed: Sequence[bytes]) -> Mapping[str, Word]:
        if not changed:
            return words
        new = dict(words)
        for worker, said in zip(changed[::2], changed[1::2], strict=True):
            if said:
                new[worker.decode()] = _read(said)
            else:
                new.pop(worker.decode(), None)
        return new


def _read(said: bytes) -> Word:
    try:
        return msgspec.json.decode(said, type=Word)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _UNREADABLE
