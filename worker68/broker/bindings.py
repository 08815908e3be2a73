"""The bindings of the job queues in Redis, as kombu keeps them: one message reaches one queue.

In: the names of the queues. Out: each queue is bound to the exchange of its own name, so that a message that names the exchange
reaches it; and to the message's routing key no other queue is bound there: earlier versions bound all queues to the front door's
exchange, and kombu keeps bindings for ever. Never: a binding of another exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redis import Redis

from worker68.redis_calls import redis_errors

#: Kombu's sets of bindings, by exchange: those that messages follow, and those that it must not delete.
KEYS: Final = ("_kombu.binding.%s", "_kombu.binding_permanent.%s")
#: Between the routing key, the pattern and the queue of a binding.
_SEPARATOR: Final = b"\x06\x16"


def bind_queues(redis: Redis, queues: Sequence[str]) -> None:
    """Bind each queue to its own exchange alone. Raises ``RedisAway``."""
    with redis_errors(), redis.pipeline(transaction=False) as pipe:
        for queue in queues:
            for key in KEYS:
                pipe.sadd(key % queue, _SEPARATOR.join((queue.encode(), b"", queue.encode())))
                pipe.smembers(key % queue)
        found = iter(pipe.execute()[1::2])
        for queue in queues:
            for key in KEYS:
                if others := [member for member in next(found) if _leads_elsewhere(member, queue.encode())]:
                    pipe.srem(key % queue, *others)
        pipe.execute()


def _leads_elsewhere(member: bytes, queue: bytes) -> bool:
    """Whether a binding of a queue's exchange takes the queue's messages to another queue."""
    routing_key, *_, bound = member.split(_SEPARATOR)
    return routing_key == queue and bound != queue
