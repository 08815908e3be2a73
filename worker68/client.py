"""What a producer in Python may import: the exception that ``AsyncResult.get()`` raises for a job that did not succeed.

Producers need nothing of this: without it Celery raises a stand-in of the same name with the same argument.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["JobFailed"]


class JobFailed(Exception):
    """The job ended as anything but ``succeeded``. The first argument is the reply as JSON; ``reply`` is the same as a dict."""

    @property
    def reply(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(self.args[0])
        return reply

    def __str__(self) -> str:
        reply = self.reply
        error = reply.get("error") or {}
        why = f"{error.get('code')}: {error.get('message')}" if error else reply.get("reason")
        return f"job {reply.get('job_id')} {reply.get('status')}{f': {why}' if why else ''}"

    def __repr__(self) -> str:
        return f"JobFailed({self})"
