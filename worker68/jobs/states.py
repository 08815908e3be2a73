"""The states of a job and every allowed transition, in one table.

The store changes a state only through these events and only where the row is still in a state from which the table lets the
event lead; whatever is not in the table does not happen.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a job stands. ``jobs.state`` in SQL."""

    #: In its lane, waiting for its turn. Left when an attempt is committed (BEGIN), by EXPIRE or by CANCEL.
    READY = "ready"
    #: Not before ``due_at``: a later ``send_at``, a back-off, an unknown task. Left when due (DUE), by EXPIRE or by CANCEL; a
    #: job that backs off is in its lane already, and is begun from there (BEGIN).
    DEFERRED = "deferred"
    #: An attempt is committed and its bytes may leave. Left by the executing worker, or by recovery when that worker died.
    SENDING = "sending"
    #: It has an outcome. Only later evidence or an operator changes that outcome (REVISE); the state stays.
    ENDED = "ended"


class Event(StrEnum):
    """What moves a job, and who causes it."""

    DUE = "due"  # the owner, when due_at has come
    BEGIN = "begin"  # execution, before the first byte may leave
    SETTLE = "settle"  # execution, with an outcome
    BACK_OFF = "back_off"  # execution: tried, to be tried again later
    GIVE_BACK = "give_back"  # execution: begun, but no byte was written
    ADVANCE = "advance"  # execution: one step is done, the next waits for its turn
    RECOVER = "recover"  # the new owner: the attempt of a dead worker may be repeated
    DOUBT = "doubt"  # the new owner: the attempt of a dead worker may have gone out
    ABANDON = "abandon"  # the new owner: so many workers were lost while they tried it that it is not tried again
    EXPIRE = "expire"  # the owner: its time is over
    CANCEL = "cancel"  # an operator or a revoke
    REFUSE = "refuse"  # intake or dispatch: it may not run at all
    PROVE = "prove"  # later evidence: an earlier attempt of a job that backs off has sent it after all
    REVISE = "revise"  # later evidence, or an operator's word


TRANSITIONS: MappingProxyType[tuple[State, Event], State] = MappingProxyType(
    {
        (State.DEFERRED, Event.DUE): State.READY,
        (State.DEFERRED, Event.BEGIN): State.SENDING,
        (State.DEFERRED, Event.EXPIRE): State.ENDED,
        (State.DEFERRED, Event.CANCEL): State.ENDED,
        (State.DEFERRED, Event.REFUSE): State.ENDED,
        (State.DEFERRED, Event.PROVE): State.ENDED,
        (State.READY, Event.BEGIN): State.SENDING,
        (State.READY, Event.EXPIRE): State.ENDED,
        (State.READY, Event.CANCEL): State.ENDED,
        (State.READY, Event.REFUSE): State.ENDED,
        (State.READY, Event.PROVE): State.ENDED,
        (State.SENDING, Event.SETTLE): State.ENDED,
        (State.SENDING, Event.BACK_OFF): State.DEFERRED,
        (State.SENDING, Event.GIVE_BACK): State.READY,
        (State.SENDING, Event.ADVANCE): State.READY,
        (State.SENDING, Event.RECOVER): State.READY,
        (State.SENDING, Event.DOUBT): State.ENDED,
        (State.SENDING, Event.ABANDON): State.ENDED,
        (State.ENDED, Event.REVISE): State.ENDED,
    }
)


def sources(event: Event) -> tuple[State, ...]:
    """Return the states in which ``event`` may happen: the condition of the statement that makes it happen."""
    return tuple(state for state, cause in TRANSITIONS if cause is event)


def target(event: Event) -> State:
    """Return the state to which ``event`` leads; each event leads to one only."""
    (state,) = {after for (_, cause), after in TRANSITIONS.items() if cause is event}
    return state
