"""``worker68.restart_client``: restart the 68 client: it drops the connection and comes back with a new Hello (restart68 [doc])."""

from __future__ import annotations

from typing import Final

from worker68.clock import Deadline, monotonic
from worker68.jobs.evidence import judge_request
from worker68.jobs.fields import NoFields
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed, succeeded
from worker68.jobs.task import JobClass, Nature, Step, Task
from worker68.tasks.turn import Turn

#: From the write to the new Hello. A desktop program starts in seconds; longer, and a person must look at it.
BACK_WITHIN_SECONDS = 120.0
LOOK_SECONDS = 0.1


async def restart_client(turn: Turn, _: NoFields) -> Outcome | TryAgain:
    """Restart the client and wait for the new Hello. Expect no reply, or "restarting", then a drop. [doc/open]

    That it logs in to its server again is not waited for: that may take a person, and what needs it waits by itself.
    """
    connections = turn.link.connections
    deadline = Deadline.after(BACK_WITHIN_SECONDS)
    started = monotonic()
    seen = await turn.call("restart68", limit="moderate")
    if not seen.written or seen.error is not None:
        return judge_request(seen)
    while not deadline.passed:
        if turn.link.connections > connections and turn.link.why_not_reached is None:
            return succeeded({"restarted_in": round(monotonic() - started, 3)})
        await turn.context.pause(LOOK_SECONDS)
    if turn.link.connections == connections and turn.link.why_not_reached is None:
        return TryAgain(ErrorCode.UNAVAILABLE, "written, but the client did not restart", spent=True)
    problem = turn.link.why_not_reached or "the connection was lost"
    return failed(
        ErrorCode.UNAVAILABLE, f"the client went away and was not back within {BACK_WITHIN_SECONDS:g} s: {problem}"
    )


TASK: Final = Task(
    "worker68.restart_client",
    "Restart the 68 client: done when it says Hello again, logged in to its server or not yet.",
    NoFields,
    JobClass.MODERATION,
    (Step(restart_client, Nature.CHANGE, "moderate", needs_login=False, call="restart68"),),
    result="`restarted_in` (seconds)",
    exclusive=True,
    wait_seconds=180.0,
)
