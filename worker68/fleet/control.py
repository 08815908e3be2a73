"""Remote control: Celery's ``revoke`` means here that the ledger cancels the job, wherever it waits.

Celery's own handler would only remember the id in this worker's memory, and end the task without an outcome.
"""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command, ok

from worker68 import runtime

#: So many ids are named at most: a revoke may have thousands.
_NAMED = 3


@control_command(
    variadic="task_id",
    signature="[id1 [id2 [... [idN]]]]",
)
def revoke(state: Any, task_id: str | list[str], terminate: bool = False, **_: Any) -> Any:
    """Cancel the jobs for which these Celery messages asked, as far as nothing of them was written to the bridge."""
    ids = [task_id] if isinstance(task_id, str) else list(task_id or [])
    done = runtime.current().revoke(ids)
    names = ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")
    if done is None:
        return ok(f"{names}: not cancelled yet; the database is slow or away, the log says what comes of it")
    told = (
        (len(done.ended), "cancelled"),
        (len(done.before), "cancelled before"),
        (len(done.too_late), "too late: under way, or ended"),
        (len(done.unseen), "not seen yet, cancelled if it comes within a day"),
    )
    return ok(f"{names}: {', '.join(f'{count} {words}' for count, words in told if count)}")
