"""worker68: sends jobs from Redis through the one bridge connection of a 68 chat account.

Importing this package costs nothing and reads no settings. ``worker68.celery`` is the Celery application, made on first
use, so that ``celery -A worker68 ...`` finds it while a producer that wants only ``worker68.client`` needs no settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

    celery: Celery

__all__ = ["celery"]


def __getattr__(name: str) -> Any:
    if name == "celery":
        from worker68.app import load_app

        app = load_app()
        globals()["celery"] = app
        return app
    raise AttributeError(f"module 'worker68' has no attribute {name!r}")
