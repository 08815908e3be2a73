"""The bindings of the job queues in Redis, as kombu keeps them: one message reaches one queue.

In: the accounts of this worker. Out: the queue of each is bound to the exchange of its own name, so that a message that names the
exchange reaches it; and to the message's routing key no other queue is bound there: earlier versions bound all queues to the front
door's exchange, and kombu keeps bindings for ever. Never: a binding of another exchange; an error because of what another program
has written there, or because Redis refuses one key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from worker68.broker.place import FRONT_DOOR, SEPARATORS, queue_of
from worker68.execution.refusals import Refusals
from worker68.redis_calls import answers_of, not_now, refusal

#: Kombu's sets of bindings, by exchange: those that messages follow, and those that it must not delete.
KEYS: Final = ("_kombu.binding.%s", "_kombu.binding_permanent.%s")
#: Between the routing key, the pattern and the queue of a binding: kombu has one setting for it and for the lists of priorities.
_SEPARATORS: Final = tuple(separator.encode() for separator in SEPARATORS)

REMEDY: Final = (
    "delete the key if it is no set, or give worker68 the right to it; jobs go on, but a message that names this exchange may miss "
    "its queue, or reach others too"
)


class Bindings:
    """Binds the queues of one worker. From any thread. Both raise ``RedisAway``.

    What Redis refuses for good at one key is noted among the refusals, and changes nothing at the others.
    """

    def __init__(self, redis: Any, refusals: Refusals) -> None:
        self._redis = redis
        self._refusals = refusals
        self._bound: set[str] = set()  # the accounts whose queues are bound

    def bind_all(self, accounts: Collection[str]) -> None:
        """Bind the queues of the front door and of these accounts, also those that were bound before."""
        self._bind([FRONT_DOOR, *map(queue_of, accounts)])
        self._bound = set(accounts)

    def bind(self, account: str) -> None:
        """Bind the queue of an account, unless that was done before."""
        if account not in self._bound:
            self._bind([queue_of(account)])
            self._bound.add(account)

    def _bind(self, queues: Sequence[str]) -> None:
        names = {key % queue: queue.encode() for queue in queues for key in KEYS}
        refused: dict[str, str] = {}
        self._send("SADD", {key: [_SEPARATORS[0].join((queue, b"", queue))] for key, queue in names.items()}, refused)
        found = self._send("SMEMBERS", dict.fromkeys(names, ()), refused)
        others = {key: [one for one in found[key] if _leads_elsewhere(one, names[key])] for key in found}
        self._send("SREM", {key: members for key, members in others.items() if members}, refused)
        for key in names:
            if key in refused:
                self._refusals.note(key, "binding", refused[key], REMEDY)
            else:
                self._refusals.taken(key)

    def _send(self, command: str, members: Mapping[str, Sequence[bytes]], refused: dict[str, str]) -> dict[str, Any]:
        """Send a command for each key, in one trip; return the answers by key.

        Those keys that Redis refuses for good are added to ``refused`` instead, with its words.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for key in members:
                pipe.execute_command(command, key, *members[key])
            answers = dict(zip(members, answers_of(pipe), strict=True))
        for answer in answers.values():
            if (later := not_now(answer)) is not None:
                raise later
        problems = {key: problem for key, answer in answers.items() if (problem := refusal(answer)) is not None}
        refused |= problems
        return {key: answer for key, answer in answers.items() if key not in problems}


def _leads_elsewhere(member: bytes, queue: bytes) -> bool:
    """Whether a binding of a queue's exchange takes the queue's messages to another queue; what cannot be read does not."""
    for separator in _SEPARATORS:
        parts = member.split(separator)
        if len(parts) == 3:
            return parts[0] == queue and parts[2] != queue
    return False
