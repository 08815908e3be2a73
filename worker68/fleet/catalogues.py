"""Which accounts each worker knows: lists by their digests, in Redis, read once by those who know others.

In: the list of this worker; the digests that the others name. Out: the lists of these. In a fleet that knows one list nothing is
read; while a deploy changes it, each list is read once. Never: what follows from a list (``cohorts``, ``shares``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

import msgspec
import redis

from worker68.clock import monotonic
from worker68.fleet.cohorts import Catalogue
from worker68.redis_calls import redis_errors

#: A list is kept in Redis for so many times the TTL of a word after the last worker that knows it has said so.
_KEPT_TTLS: Final = 6

#: A worker that names another list than before counts so long as one that knows what it knew before. By then most often all have
#: read the same from the database, and no list need be read.
PATIENCE_SECONDS: Final = 5.0

_decode: Final = msgspec.json.Decoder(list[tuple[str, str]]).decode


def catalogue_key(digest: str) -> str:
    """Return the key of the list with this digest: as JSON, names of leases with the labels of their accounts."""
    return f"worker68:fleet:accounts:{digest}"


@dataclass(frozen=True)
class Found:
    """``known_by``: the digest of the list that each worker knows; ``lists``: these, by their digests.

    ``again_at``: when to ask again, though no worker has said anything new (monotonic seconds).
    """

    known_by: Mapping[str, str]
    lists: Mapping[str, Catalogue]
    again_at: float


class Catalogues:
    """Writes this worker's list, and reads those of others. Each call waits for Redis, or raises ``RedisAway``."""

    def __init__(self, client: redis.Redis, ttl_seconds: float) -> None:
        self._client = client
        self._ttl_seconds = ttl_seconds
        self._published: tuple[str, float] = ("", 0.0)  # which list, and when
        self._lists: dict[str, Catalogue] = {}
        self._known_by: dict[str, str] = {}
        self._new_since: dict[str, float] = {}

    def publish(self, mine: Catalogue) -> None:
        """Let the others read this worker's list: before its word names it, and once in a TTL afterwards."""
        digest, at = self._published
        if digest == mine.digest and monotonic() - at < self._ttl_seconds:
            return
        milliseconds = round(self._ttl_seconds * _KEPT_TTLS * 1000)
        key = catalogue_key(mine.digest)
        with redis_errors():
            if not self._client.pexpire(key, milliseconds):
                self._client.set(key, msgspec.json.encode(sorted(mine.accounts)), px=milliseconds)
        self._lists[mine.digest] = mine
        self._published = mine.digest, monotonic()

    def find(self, named: Mapping[str, str]) -> Found:
        """Return which lists the workers know. ``named``: the digests that they name. One whose list is not there is left out.

        Lists that no worker knows any more are forgotten.
        """
        now = monotonic()
        unknown = {worker: digest for worker, digest in named.items() if digest not in self._lists}
        self._new_since = {digest: self._new_since.get(digest, now) for digest in unknown.values()}
        patient = {
            worker
            for worker, digest in unknown.items()
            if worker in self._known_by and now - self._new_since[digest] < PATIENCE_SECONDS
        }
        self._read(sorted({digest for worker, digest in unknown.items() if worker not in patient}))
        known_by = {worker: digest for worker, digest in named.items() if digest in self._lists}
        known_by |= {worker: self._known_by[worker] for worker in patient if worker not in known_by}
        self._known_by = known_by
        self._lists = {digest: self._lists[digest] for digest in dict.fromkeys(known_by.values())}
        return Found(known_by, self._lists, now + PATIENCE_SECONDS if unknown else math.inf)

    def _read(self, digests: Sequence[str]) -> None:
        if not digests:
            return
        with redis_errors():
            found = cast("list[bytes | None]", self._client.mget([catalogue_key(digest) for digest in digests]))
        for digest, said in zip(digests, found, strict=True):
            if said is not None:
                # A version that writes something else is left out, as one without a list.
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    self._lists[digest] = Catalogue(frozenset(_decode(said)))
