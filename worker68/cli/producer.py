"""Putting a job in, waiting for its end, revoking it, as any Celery producer may: through Redis only, without the database.

In: a task and its fields, or Celery ids. Out: the Celery id, and the reply. Never: a wait without an end. Kombu by itself would
try for ever to reach a Redis that is away.
"""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from celery.exceptions import TimeoutError as WaitedTooLong
from celery.result import AsyncResult
from redis.exceptions import RedisError

from worker68.app import make_app
from worker68.broker.place import FRONT_DOOR, queue_of
from worker68.cli.reach import REDIS_SECONDS, open_redis, saying_away
from worker68.client import JobFailed
from worker68.settings import Settings


class Producer:
    """Puts jobs in. ``with`` closes its connections. Raises ``SettingsError`` without ``REDIS_URL``."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.require_redis_url()
        self._accounts = settings.account_settings()
        self._app = make_app(settings)
        timeouts = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS}
        self._app.conf.update(
            broker_transport_options=self._app.conf.broker_transport_options | timeouts,
            redis_socket_timeout=REDIS_SECONDS,
            redis_socket_connect_timeout=REDIS_SECONDS,
            result_backend_transport_options=self._app.conf.result_backend_transport_options
            | {"retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2}},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._app.close()

    def put_in(self, task: str, fields: Mapping[str, Any]) -> AsyncResult:
        """Put a job into the queue of its account and return its result to come. Raises ``RedisAway``.

        An account that is not in the settings here goes through the front door: the worker there has it, or answers that
        it is unknown.
        """
        account = fields["account"]
        queue = queue_of(account) if account in self._accounts else FRONT_DOOR
        with saying_away(self._url), open_redis(self._url) as redis:
            redis.ping()
            return self._app.send_task(task, kwargs=dict(fields), queue=queue, retry=False)

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Revoke these messages on all workers; wait for no answer. Raises ``RedisAway``."""
        with saying_away(self._url), open_redis(self._url) as redis:
            redis.ping()
            self._app.control.revoke(list(task_ids))

    def await_reply(self, result: AsyncResult, seconds: float) -> dict[str, Any] | None:
        """Return the job's reply, however it ended; None when it has not ended in time. Raises ``RedisAway``."""
        goes_on = f"the job {result.id} goes on without this command; "
        with saying_away(self._url, goes_on), _silent("celery.backends"):
            try:
                reply: dict[str, Any] = result.get(timeout=seconds)
            except JobFailed as failure:
                return failure.reply
            except WaitedTooLong:
                return None
            except RuntimeError as given_up:
                if not isinstance(given_up.__cause__, RedisError):
                    raise
                # Redis went away during the wait, and Celery could not connect again.
                raise given_up.__cause__ from None
            return reply


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Let no line of these loggers through: what they would say of a Redis that is away is raised instead."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
