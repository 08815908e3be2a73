"""Celery's remote control of the only worker of a Redis, as Celery's own commands and Flower use it.

In: a Celery application. Out: the worker's answer. It waits half a second at most for its database and then says that it knows
nothing; it is asked again then, because this is no failure on a slow machine. Never: an answer of another worker.
"""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import Celery

from tests.parts.worker import PATIENCE_SECONDS, wait_until

#: What a worker says whose database takes longer than it may wait: to a question, to a revoke.
SLOW: Final = ("not known: ", "not cancelled yet")


def inspect(app: Celery, what: str) -> Any:
    """Ask as ``celery inspect`` does."""

    def ask() -> Any:
        (answer,) = getattr(app.control.inspect(timeout=PATIENCE_SECONDS, limit=1), what)().values()
        return answer

    return _answer(ask)


def control(app: Celery, command: str, **arguments: Any) -> Any:
    """Send any command, as Celery's and Flower's own code does."""

    def ask() -> Any:
        (reply,) = app.control.broadcast(command, arguments=arguments, reply=True, timeout=PATIENCE_SECONDS, limit=1)
        (answer,) = reply.values()
        return answer

    return _answer(ask)


def revoke(app: Celery, ids: Sequence[str]) -> str:
    """Revoke, as ``AsyncResult.revoke`` does; return what came of it.

    Where it was asked again, what the first revoke has cancelled was "cancelled before".
    """
    words: str = control(app, "revoke", task_id=list(ids), terminate=False)["ok"]
    return words


def _answer(ask: Callable[[], Any]) -> Any:
    def answered() -> tuple[Any] | None:
        answer = ask()
        error = answer.get("error") if isinstance(answer, dict) else None
        return None if any(words in str(error) for words in SLOW) else (answer,)

    (answer,) = wait_until(answered) or (None,)
    return answer
