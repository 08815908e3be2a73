"""The intake's side of Redis: messages come out of the queues of many accounts in batches, and none is lost on the way.

In: the places that this worker owns. Out: messages as they lie in Redis, in the order in which they must be written down.

A popped message stays recorded in the place's unacknowledged hash until ``ack``; whatever is found there by a later pop (the
worker died, a reply was lost, the batch could not be written) is handed out again, first and alone. So a message is handed
out at least once, and never overtaken by a later one of its list, unless that is moderation. Never retries, never waits for one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from worker68.broker.doorbell import Doorbell
from worker68.broker.moderation import MOST_TAKEN, ModerationSearch
from worker68.broker.place import Place, Popped, lists_of, queue_of
from worker68.broker.wire import Wire
from worker68.redis_calls import Script, refusal

# One reply, one transaction and one worker's memory must bear it, also where each message is a file list or a broadcast.
MAX_BATCH_BYTES = 8 * 1024 * 1024

# So that one command does not hold up Redis for long.
_FIELDS_PER_COMMAND = 1000

_POP = Script(__package__, "pop.lua")
_MOVE = Script(__package__, "move.lua")
_GIVE_BACK = Script(__package__, "give_back.lua")

#: The step of which ``_refused`` is asked later.
_ACK = "acknowledge"
_REMEDY = "its messages stay in Redis: grant what docs/redis.md lists; `worker68 check` names what is missing"

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one pop found. Places whose lease is no longer ours were left alone, and so were those that Redis refuses.

    ``again``: acknowledge, and pop these places again at once, in this order. ``crowded``: from these as many messages were taken
    as there is room for, and more lie there.
    """

    popped: tuple[Popped, ...] = ()
    again: tuple[str, ...] = ()
    crowded: frozenset[str] = frozenset()


class Source:
    """Takes messages out of Redis. Used by one thread. Everything raises ``RedisAway`` while Redis cannot serve.

    What Redis refuses to one place for good (a right is missing) is logged, and costs the others nothing. Its messages stay in
    Redis: look at it again now and then.

    ``doorbell``: rings for what was popped; it may fail in silence, so pop now and then all the same.
    """

    def __init__(self, url: str, client_name: str = "worker68-intake") -> None:
        self._pops = Wire(url, client_name)
        self.doorbell = Doorbell(self._pops, Wire(url, f"{client_name}-bell"))
        self._moderation = ModerationSearch(self._pops)
        self._numbers_used = 0
        self._broken_keys: set[bytes] = set()
        self._refused: set[tuple[str, str]] = set()  # the place, and what Redis refuses there now

    def pop(self, places: Sequence[Place], limit: int) -> Batch:
        """Take up to ``limit`` messages, and little more than ``MAX_BATCH_BYTES``: of each place an equal share, at least one.

        Within a place the lists come in order of priority and each list from its old end; after them comes moderation that lies
        behind, up to ``MOST_TAKEN`` messages, whatever the limit and the place's room. A place with unacknowledged messages
        hands out those alone, oldest fence first. Acknowledge or give back a batch before the next pop of its places. If this
        raises, messages may have been popped; the next pop hands them out.
        """
        self.doorbell.arm()
        if not places:
            return Batch()
        share = max(1, limit // len(places))
        most_bytes = MAX_BATCH_BYTES // len(places)
        runs: list[tuple[Sequence[str], Sequence[str | bytes | int]]] = []
        for place in places:
            arguments = (share, most_bytes, self._numbers_used, place.lease_key, place.lease_value)
            fence = f"{place.fence:016d}"
            runs.append((lists_of(place.queue), (*arguments, fence, place.unacked_key, place.room)))
            # Counted before the call: a number must not come twice under one fence, also when the reply is lost, or a
            # late acknowledgement could hit another message.
            self._numbers_used += share
        return self._read_replies(places, self._pops.run_each(_POP, runs))

    def ack(self, messages: Iterable[Popped]) -> None:
        """Forget messages for good, in one trip. Harmless when repeated, and after the lease was lost.

        Where Redis refuses that, they come again when their place is looked at the next time.
        """
        commands: list[tuple[Place, tuple[str | bytes | int, ...]]] = []
        for place, fields in _fields_by_place(messages).items():
            commands += [(place, ("HDEL", place.unacked_key, *chunk)) for chunk in _chunks(fields)]
        answers = self._pops.call_each([command for _, command in commands])
        for (place, _), answer in zip(commands, answers, strict=True):
            self._is_refused(place, _ACK, answer)

    def give_back(self, messages: Iterable[Popped]) -> int:
        """Put messages back into their lists in the old order; return how many. Harmless when repeated.

        Messages of a place whose lease was lost are left to its next owner, who finds them unacknowledged; so does the next pop
        those that Redis refuses to take back.
        """
        given_back = 0
        for place, fields in _fields_by_place(messages).items():
            for chunk in _chunks(sorted(fields, reverse=True)):
                arguments: list[str | bytes | int] = [place.lease_key, place.lease_value, *chunk]
                (answer,) = self._pops.run_each(_GIVE_BACK, [([place.unacked_key], arguments)])
                if self._is_refused(place, "give back", answer):
                    break  # what is left of this place is older, and must not come after these
                given_back += max(0, answer)
        return given_back

    def move(self, place: Place, messages: Iterable[tuple[Popped, str]]) -> dict[Popped, str]:
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
            reply: list[bytes] = self._pops.run(_MOVE, [place.unacked_key], arguments)
            refused |= {
                by_field[field]: reason.decode(errors="replace")
                for field, reason in zip(reply[::2], reply[1::2], strict=True)
            }
        return refused

    def close(self) -> None:
        self.doorbell.close()
        self._pops.close()

    def _read_replies(self, places: Sequence[Place], replies: Sequence[Any]) -> Batch:
        popped: list[Popped] = []
        crowded: set[str] = set()
        again: dict[str, None] = {}
        to_search: list[Place] = []
        for place, reply in zip(places, replies, strict=True):
            if self._is_refused(place, "pop", reply):
                continue
            owned, waiting, entries, broken, leftover = reply
            if not owned:
                continue
            for key in broken:
                self._report("intake_key_of_wrong_type", place, key)
            pairs = zip(entries[::2], entries[1::2], strict=True)
            try:
                own = [_parse(place, field, value) for field, value in pairs]
            except ValueError:  # another program has written to the hash
                self._report("intake_field_not_readable", place, place.unacked_key.encode())
                continue
            popped += own
            if leftover and own:
                if (place.name, _ACK) not in self._refused:  # else the same would come again at once, and for ever
                    again[place.name] = None
            elif waiting and place.unacked_key.encode() not in broken:
                if len(own) < place.room:
                    again[place.name] = None
                else:
                    crowded.add(place.name)
                self._moderation.note_popped(one.list_key for one in own)
                if not place.is_front:  # that is sorted as fast as it could be searched
                    to_search.append(place)
        found: list[Popped] = []
        if to_search:
            numbers_used = self._numbers_used
            self._numbers_used += MOST_TAKEN  # before the call, as in ``pop``
            found, unread = self._moderation.search(to_search, numbers_used)
            again |= dict.fromkeys(unread)
        first, rest = list(again)[:1], list(again)[1:]  # so that a long list keeps no other from being searched
        return Batch((*popped, *found), (*rest, *first), frozenset(crowded))

    def _is_refused(self, place: Place, step: str, answer: object) -> bool:
        """Return whether Redis refuses this to this place for good; log it where it is new."""
        problem = refusal(answer)
        if problem is None:
            self._refused.discard((place.name, step))
        elif (place.name, step) not in self._refused:
            self._refused.add((place.name, step))
            log.error("intake_refused", queue=place.queue, step=step, problem=problem, remedy=_REMEDY)
        return problem is not None

    def _report(self, event: str, place: Place, key: bytes) -> None:
        if key not in self._broken_keys:
            self._broken_keys.add(key)
            log.error(
                event, place=place.name, key=key, remedy="look at the key, then delete what does not belong there"
            )


def _parse(place: Place, field: bytes, value: bytes) -> Popped:
    length, _, rest = value.partition(b":")
    return Popped(place, field, list_key=rest[: int(length)], raw=rest[int(length) :])


def _fields_by_place(messages: Iterable[Popped]) -> dict[Place, list[bytes]]:
    by_place: dict[Place, list[bytes]] = defaultdict(list)
    for popped in messages:
        by_place[popped.place].append(popped.field)
    return by_place


def _chunks(things: Iterable[T]) -> Iterable[Sequence[T]]:
    remaining = list(things)
    return (remaining[i : i + _FIELDS_PER_COMMAND] for i in range(0, len(remaining), _FIELDS_PER_COMMAND))
