"""Remote control: Celery's ``revoke`` means here that the ledger cancels the job, wherever it waits.

Celery's own handler would only remember the id in this worker's memory, and end the task without an outcome.
"""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command, ok

from worker68 import runtime


@control_command(
    variadic="task_id",
    signature="[id1 [id2 [... [idN]]]]",
)
def revoke(state: Any, task_id: str | list[str], terminate: bool = False, **_: Any) -> Any:
    """Cancel the jobs for which these Celery messages asked, as far as nothing of them was written to the bridge."""
    ids = [task_id] if isinstance(task_id, str) else list(task_id or [])
    runtime.current().revoke(ids)
    return ok(f"cancelling {', '.join(ids)} where nothing was written yet")
