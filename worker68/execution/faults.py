"""What a fault of worker68's own in a job's turn comes to: the end of this job, and of nothing else.

In: a job whose turn it is. Out: what its turn came to. Never: an error to the caller, save that the process ends.
"""

from __future__ import annotations

import asyncio

import structlog

from worker68.clock import utc_now
from worker68.errors import DatabaseAway
from worker68.execution.execute import Execution, failed_within
from worker68.execution.slots import Ready, StepDone
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed, whole_outcome
from worker68.jobs.states import Event
from worker68.store.engine import Connection
from worker68.store.statements import attempts, outcomes

log = structlog.get_logger(__name__)

_REMEDY = "the account's sweep or its next owner resolves what was begun"


async def run_apart(execution: Execution, ready: Ready) -> Outcome | TryAgain | StepDone | None:
    """Bring one job to its outcome; None where nothing was changed. A ``SystemExit``, too, would else end the loop."""
    job = ready.job
    try:
        return await execution.run(ready)
    except asyncio.CancelledError:
        raise  # the process ends, and leaves it as a crash would
    except DatabaseAway as away:
        log.error("turn_left", job_id=job.job_id, task=job.task, problem=str(away), remedy=_REMEDY)
    except BaseException as fault:
        log.error("turn_failed", job_id=job.job_id, task=job.task, exc_info=fault)
        try:
            return await _end(execution, job, fault)
        except asyncio.CancelledError:
            raise
        except BaseException:
            log.exception("turn_not_ended", job_id=job.job_id, task=job.task, remedy=_REMEDY)
    execution.account.dispatch.finish(job)
    return None


async def _end(execution: Execution, job: Job, fault: BaseException) -> Outcome:
    """End a job whose turn broke off: left as it is, it would come again and break off for ever."""
    unbegun = failed(ErrorCode.INTERNAL, f"{type(fault).__name__} in worker68; see its log")
    begun = whole_outcome(failed_within(job, fault), job.done)
    attempt = execution.attempt(job)

    def end(connection: Connection) -> Outcome:
        now = utc_now()
        if outcomes.end_waiting(connection, [job.seq], Event.REFUSE, unbegun, now):
            return unbegun
        attempts.settle(connection, [(attempt, begun)], now)
        return begun

    outcome = await execution.write(end)
    execution.account.dispatch.finish(job)
    execution.account.shared.announce()
    return outcome
