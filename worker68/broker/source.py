"""The intake's side of Redis: messages come out of the queues of many accounts in batches, and none is lost on the way.

In: the places that this worker owns. Out: messages as they lie in Redis, in the order in which they must be written down.

A popped message stays recorded in the place's unacknowledged hash until ``ack``; whatever is found there by a later pop (the
worker died, a reply was lost, the batch could not be written) is handed out again, first and alone. So a message is handed
out at least once, and never overtaken by a later one of its list, unless that is moderation. Never retries, never waits for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from worker68.broker.doorbell import Doorbell
from worker68.broker.moderation import MOST_TAKEN, ModerationSearch
from worker68.broker.place import Place, Popped, lists_of, queue_of
from worker68.broker.wire import Wire
from worker68.redis_calls import Script

# One reply, one transaction and one worker's memory must bear it, also where each message is a file list or a broadcast.
MAX_BATCH_BYTES = 8 * 1024 * 1024

# So that one command does not hold up Redis for long.
_FIELDS_PER_COMMAND = 1000

_POP = Script(__package__, "pop.lua")
_PASS_ON = Script(__package__, "pass_on.lua")
_GIVE_BACK = Script(__package__, "give_back.lua")

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one pop found. Names are those of places.

    ``not_owned`` places were left alone because their lease is no longer ours. ``waiting`` counts what the pop has left in the
    lists. ``more`` says: ack, and pop again at once.
    ``unread``: some of what waits has not been searched for moderation yet, so pop again at once as well.
    """

    popped: tuple[Popped, ...]
    not_owned: frozenset[str]
    waiting: dict[str, int]
    more: bool
    unread: bool


class Source:
    """Takes messages out of Redis. Used by one thread. Everything raises ``RedisAway`` while Redis cannot serve."""

    def __init__(self, url: str, client_name: str = "worker68-intake") -> None:
        self._pops = Wire(url, client_name)
        self._doorbell = Doorbell(self._pops, Wire(url, f"{client_name}-bell"))
        self._moderation = ModerationSearch(self._pops)
        self._numbers_used = 0
        self._turn = 0
        self._broken_keys: set[bytes] = set()

    def fileno(self) -> int:
        """Return a descriptor that is readable when ``drain`` has something to say; the same one for ever."""
        return self._doorbell.fileno()

    def drain(self) -> bool:
        """Silence the bell; return whether to pop now. The bell may fail in silence, so pop each second all the same."""
        return self._doorbell.drain()

    @property
    def bell_armed(self) -> bool:
        """Whether pushes will ring, as far as is known: for health and metrics, not for waiting without a poll."""
        return self._doorbell.armed

    def pop(self, places: Sequence[Place], limit: int) -> Batch:
        """Take up to ``limit`` messages, and little more than ``MAX_BATCH_BYTES``, over all places in fair turns.

        Within a place the lists come in order of priority and each list from its old end; after them comes moderation that lies
        behind, up to ``MOST_TAKEN`` messages, whatever the limit and the place's room. A place with unacknowledged messages
        hands out those alone, oldest fence first. Acknowledge or give back a batch before the next pop. If this raises, messages
        may have been popped; the next pop hands them out.
        """
        self._doorbell.arm()
        places = self._rotate(places)
        keys: list[str] = []
        arguments: list[str | bytes | int] = [limit, MAX_BATCH_BYTES, self._numbers_used]
        for place in places:
            lists = lists_of(place.queue)
            keys += lists
            fence = f"{place.fence:016d}"
            arguments += [place.lease_key, place.lease_value, fence, place.unacked_key]
            arguments += [place.lost_key, place.room, len(lists)]
        # Counted before the call: a number must not come twice under one fence, also when the reply is lost, or a
        # late acknowledgement could hit another message.
        self._numbers_used += limit
        return self._read_reply(places, self._pops.run(_POP, keys, arguments))

    def ack(self, place: Place, fields: Iterable[bytes]) -> None:
        """Forget messages for good. Harmless when repeated, and after the lease was lost."""
        for chunk in _chunks(fields):
            self._pops.call("HDEL", place.unacked_key, *chunk)
            # Only what an earlier owner had popped can have been counted as lost.
            counted = [field for field in chunk if not field.startswith(f"{place.fence:016d}:".encode())]
            if counted and place.lost_key.encode() not in self._broken_keys:
                self._pops.call("HDEL", place.lost_key, *counted)

    def give_back(self, place: Place, fields: Iterable[bytes]) -> int:
        """Put messages back into their lists in the old order; return how many. Harmless when repeated.

        Messages of a place whose lease was lost are left to its next owner, who finds them unacknowledged.
        """
        given_back = 0
        for chunk in _chunks(sorted(fields, reverse=True)):
            arguments: list[str | bytes | int] = [place.lease_key, place.lease_value, *chunk]
            given_back += max(0, self._pops.run(_GIVE_BACK, [place.unacked_key], arguments))
        return given_back

    def pass_on(self, place: Place, messages: Iterable[tuple[Popped, str]]) -> dict[Popped, str]:
        """Move messages of the front door to the queue of the account named with each, in their order.

        Return those whose queue refused them (its key is no list), with the reason: they stay unacknowledged. Harmless when
        repeated. Messages of a lease that was lost are left to its next owner.
        """
        refused: dict[Popped, str] = {}
        for chunk in _chunks(messages):
            arguments: list[str | bytes | int] = [place.lease_key, place.lease_value]
            for popped, account in chunk:
                suffix = popped.list_key.removeprefix(place.queue.encode())
                arguments += [popped.field, queue_of(account).encode() + suffix]
            by_field = {popped.field: popped for popped, _ in chunk}
            reply: list[bytes] = self._pops.run(_PASS_ON, [place.unacked_key], arguments)
            refused |= {
                by_field[field]: reason.decode(errors="replace")
                for field, reason in zip(reply[::2], reply[1::2], strict=True)
            }
        return refused

    def close(self) -> None:
        self._doorbell.close()
        self._pops.close()

    def _rotate(self, places: Sequence[Place]) -> list[Place]:
        """Let another place be the first each time, so that with a full batch the last ones get their turn too."""
        self._turn = (self._turn + 1) % max(1, len(places))
        return [*places[self._turn :], *places[: self._turn]]

    def _read_reply(self, places: Sequence[Place], reply: list[Any]) -> Batch:
        popped: list[Popped] = []
        not_owned, waiting, more = set(), {}, False
        to_search: list[Place] = []
        for place, (owned, in_lists, entries, broken, leftover) in zip(places, reply, strict=True):
            if not owned:
                not_owned.add(place.name)
                continue
            for key in broken:
                self._report(place, key)
            triples = zip(entries[::3], entries[1::3], entries[2::3], strict=True)
            own = [_parse(place, field, value, bool(leftover), losses) for field, value, losses in triples]
            popped += own
            if not leftover and in_lists and place.unacked_key.encode() not in broken:
                to_search.append(place)
                self._moderation.note_popped(one.list_key for one in own)
            waiting[place.name] = in_lists
            more = more or bool(leftover) or (in_lists > 0 and len(entries) // 3 < place.room)
        numbers_used = self._numbers_used
        self._numbers_used += MOST_TAKEN  # before the call, as in ``pop``
        found, unread = self._moderation.search(to_search, numbers_used)
        everything = (*popped, *found)
        return Batch(everything, frozenset(not_owned), waiting, more or bool(found), unread)

    def _report(self, place: Place, key: bytes) -> None:
        if key not in self._broken_keys:
            self._broken_keys.add(key)
            log.error("intake_key_of_wrong_type", place=place.name, key=key, remedy="look at the key, then delete it")


def _parse(place: Place, field: bytes, value: bytes, leftover: bool, losses: int) -> Popped:
    length, _, rest = value.partition(b":")
    return Popped(place, field, list_key=rest[: int(length)], raw=rest[int(length) :], leftover=leftover, losses=losses)


def _chunks(things: Iterable[T]) -> Iterable[Sequence[T]]:
    remaining = list(things)
    return (remaining[i : i + _FIELDS_PER_COMMAND] for i in range(0, len(remaining), _FIELDS_PER_COMMAND))
