"""The transport and the pool stand on private parts of kombu and Celery: these are the ones, as they must be."""

from __future__ import annotations

import inspect
from typing import Any

import celery
import kombu
import pytest
from celery.concurrency import base, thread
from celery.events import EventDispatcher
from celery.worker import WorkController
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu.transport import redis, virtual

from worker68.broker import pool, transport

METHODS = [
    (virtual.QoS, "append", ["message", "delivery_tag"]),
    (virtual.QoS, "ack", ["delivery_tag"]),
    (virtual.QoS, "_flush", []),
    (virtual.QoS, "can_consume", []),
    (redis.QoS, "append", ["message", "delivery_tag"]),
    (redis.QoS, "ack", ["delivery_tag"]),
    (redis.QoS, "reject", ["delivery_tag", "requeue"]),
    (redis.QoS, "restore_unacked", ["client"]),
    (redis.QoS, "restore_unacked_once", ["stderr"]),
    (redis.QoS, "restore_visible", ["start", "num", "interval"]),
    (redis.MultiChannelPoller, "on_poll_start", []),
    (redis.MultiChannelPoller, "on_readable", ["fileno"]),
    (redis.MultiChannelPoller, "handle_event", ["fileno", "event"]),
    (redis.Transport, "_deliver", ["message", "queue"]),
    (redis.Channel, "_put_fanout", ["exchange", "message", "routing_key", "kwargs"]),
    (redis.Channel, "_get_publish_topics", ["exchange", "routing_key"]),
    (redis.Channel, "conn_or_acquire", ["client"]),
    (redis.Channel, "_queue_bind", ["exchange", "routing_key", "pattern", "queue"]),
    (redis.Channel, "get_table", ["exchange"]),
    (EventDispatcher, "flush", ["errors", "groups"]),
    (base.BasePool, "terminate_job", ["pid", "signal"]),
    (base.BasePool, "on_terminate", []),
    (Request, "cancel", ["pool", "signal", "emit_retry"]),
    (Request, "send_event", ["type", "fields"]),
    (Request, "execute_using_pool", ["pool", "kwargs"]),
    (WorkController, "_process_task", ["req"]),
    (Consumer, "cancel_active_requests", []),
]


@pytest.mark.parametrize(("owner", "name", "arguments"), METHODS)
def test_an_overridden_or_used_method_is_there_with_its_arguments(owner: type, name: str, arguments: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters)[1:] == arguments


def test_the_pool_bounds_no_requests_itself() -> None:
    """With a semaphore, Celery would wait for a release that none of our requests makes."""
    assert not pool.TaskPool.uses_semaphore


@pytest.mark.parametrize("name", ["fds"])
def test_an_overridden_property_of_the_poller_is_one(name: str) -> None:
    assert isinstance(inspect.getattr_static(redis.MultiChannelPoller, name), property)


def test_the_channel_has_what_is_overridden() -> None:
    assert isinstance(inspect.getattr_static(redis.Channel, "active_queues"), property)
    assert "socket_timeout" in redis.Channel.from_transport_options
    assert (redis.Channel.keyprefix_queue, redis.Channel.keyprefix_binding_permanent) == (
        "_kombu.binding.%s",
        "_kombu.binding_permanent.%s",
    )


def test_the_threads_pool_passes_on_what_ours_takes() -> None:
    ours = inspect.signature(pool.TaskPool.on_apply).parameters
    stock = inspect.signature(thread.TaskPool.on_apply).parameters

    assert set(stock) <= set(ours)


def test_every_override_has_the_name_of_something_to_override() -> None:
    for ours in (transport.QoS, transport.Channel, transport.Poller, transport.Transport):
        (stock,) = ours.__bases__
        for name, value in vars(ours).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                assert hasattr(stock, name) or name in OWN_NAMES, name


OWN_NAMES = {"hand_over"}


@pytest.mark.parametrize("library", [celery, kombu])
def test_the_minor_versions_are_those_that_were_read(library: Any) -> None:
    assert library.__version__.startswith("5.7.")
