"""The Celery application: its settings follow from ours, so that ``celery -A worker68 worker`` needs no options."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from worker68 import celery_tasks
from worker68.broker.client import sentinel_options
from worker68.broker.place import FRONT_DOOR, queue_of
from worker68.broker.url import celery_url, read_redis_url
from worker68.celery_worker import control  # noqa: F401 - registers the remote control commands
from worker68.celery_worker.queues import bind
from worker68.celery_worker.steps import RuntimeStep, ShowStep
from worker68.errors import SettingsError
from worker68.observe.logs import configure_logs
from worker68.settings import Settings, load_settings


def load_app() -> Celery:
    """Return the application for this process's settings; end the process with one line and status 2 if they are wrong."""
    try:
        return make_app(load_settings())
    except SettingsError as error:
        print(f"worker68: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def make_app(settings: Settings) -> Celery:
    """Return a Celery application for these settings. Raises ``SettingsError`` without a Redis URL."""
    redis_url = settings.require_redis_url()
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"):
        if (os.environ.get(name) or redis_url) != redis_url:
            raise SettingsError(f"{name} is set, and Celery would follow it instead of WORKER68_REDIS_URL: unset it")
    app = Celery("worker68", set_as_current=False)
    app.conf.update(
        **_reach_redis(redis_url),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis that takes no writes when Celery connects (full, no replica, a failover) would end the worker.
        broker_channel_error_retry=True,
        result_expires=int(settings.reply_ttl),
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        enable_utc=True,
        task_default_queue=FRONT_DOOR,
        task_queues=[bind(FRONT_DOOR), *(bind(queue_of(name)) for name in settings.account_settings())],
        # Nothing runs there: jobs begin on the loop. A pool that forks would lose the threads of this process.
        worker_pool="threads",
        worker_concurrency=settings.concurrency,
        worker_enable_prefetch_count_reduction=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    app.steps["worker"].add(RuntimeStep)
    app.steps["consumer"].add(ShowStep)
    app.worker68_settings = settings
    celery_tasks.register(app)
    return app


def _reach_redis(redis_url: str) -> dict[str, Any]:
    """Return Celery's settings for Redis: where broker and results are."""
    address, url = read_redis_url(redis_url), celery_url(redis_url)
    if address.master is None:
        return {"broker_url": url, "result_backend": url, "broker_transport_options": {"socket_keepalive": True}}
    options = {"master_name": address.master, "sentinel_kwargs": sentinel_options(address)}
    return {
        "broker_url": url,
        "result_backend": url,
        "broker_transport_options": {"socket_keepalive": True, **options},
        "result_backend_transport_options": options,
        "broker_use_ssl": address.tls,
        "redis_backend_use_ssl": address.tls,
    }


@setup_logging.connect
def _configure_logs(**_: Any) -> None:
    """Let Celery's log lines take our form; without this handler Celery would configure its own."""
    configure_logs(load_settings())
