"""The queues of jobs as Celery describes a queue.

In: the name of a queue. Out: the queue with its binding, for Celery's banner and ``inspect active_queues``. Never: a consumer.
"""

from __future__ import annotations

from kombu.entity import Exchange, Queue


def bind(queue: str) -> Queue:
    """Return a queue that is bound to an exchange of its own name alone, as Celery binds a queue that a producer names.

    Left to Celery, all queues would be bound to the default exchange with one routing key: one message would reach each of them.
    """
    return Queue(queue, Exchange(queue), routing_key=queue)
