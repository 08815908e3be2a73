"""Intake: from popped messages to rows, in the order in which they were popped.

In: raw messages and where they lay. Out: new jobs, ready or deferred; everything else (invalid, unknown, conflicting, repeated,
unreadable) is answered or set aside by the same transaction. Whatever one message makes the code or the database raise, only that
message is set aside. Never: anything that acts on a job, or drops a message.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog

from worker68.errors import (
    DatabaseAway,
    DatabaseRefused,
    FieldError,
    InvalidJob,
    LeaseLost,
    Sender,
    UnreadableMessage,
    describe_fault,
)
from worker68.execution import reasons
from worker68.jobs.envelope import LOWEST_PRIORITY, Envelope, pack_message, read_envelope, read_sender
from worker68.jobs.fields import Common
from worker68.jobs.job import (
    DEFAULT_ACCOUNT,
    Job,
    Order,
    content_hash,
    earliest_expiry,
    encode_fields,
    lane_of,
    read_common,
    read_order,
)
from worker68.jobs.outcome import ErrorCode, Outcome, expired, failed
from worker68.jobs.states import Event, State
from worker68.jobs.task import JobClass
from worker68.jobs.validation import COMMON_FIELDS
from worker68.limits.rates import Rate
from worker68.protocol.messages import find_never_sent
from worker68.settings import AccountSettings
from worker68.store.engine import Engine
from worker68.store.intake import Dead, Entry, Taken, take_in
from worker68.store.statements.outcomes import Requester
from worker68.store.tables import PARKED_LANE
from worker68.store.waiting import Parked, end_waiting, unpark
from worker68.tasks import TASKS, find_nearest_task

log = structlog.get_logger(__name__)

#: How long a message with an unknown task waits for a newer worker that knows it (contract, section 2).
PARKED_FOR = dt.timedelta(minutes=10)

_NEVER_SENT = (
    "contains {mark!r}, spaces left out: the 68 client never sends such a text (WORKER68_CHECK_TEXTS=false: try it)"
)


@dataclass(frozen=True)
class Arrival:
    """A popped message. ``account``: whose queue it lay on, None for the front door. ``problem``: why it is set aside unread."""

    raw: bytes
    queue: str
    account: str | None
    problem: str | None = None
    #: There was no account for it when it was sorted: it makes no job, also if there is one by now.
    unknown: bool = False


@dataclass(frozen=True)
class _Reading:
    """What was made of one arrival: an entry for the store, and the order of a job that may run."""

    entry: Entry | None = None
    order: Order | None = None
    dead: Dead | None = None


class Intake:
    """Takes batches in: one thread, save for ``revive``. ``look`` reads ``accounts`` anew, and names those that are wrong here."""

    def __init__(
        self, engine: Engine, accounts: Mapping[str, AccountSettings], look: Callable[[], Container[str]] = tuple
    ) -> None:
        self._engine = engine
        self._accounts = accounts
        self._look = look

    def revive(self, account: str, parked: Sequence[Parked], now: dt.datetime) -> list[Job]:
        """Let parked jobs whose task is known now wait for their turn; return those that do: none, if their account was removed."""
        if account not in self._accounts:
            return []
        waits: dict[int, tuple[Order, Entry]] = {}
        for one in parked:
            reading = self.read(Arrival(one.envelope.encode(), "", account), now)
            if reading.entry is None or reading.order is None or reading.entry.outcome is not None:
                outcome = (reading.entry and reading.entry.outcome) or unknown_task_outcome(one.task)
                end_waiting(self._engine, [one.seq], Event.REFUSE, outcome, now)
            else:
                waits[one.seq] = reading.order, reading.entry
        taken = unpark(self._engine, {seq: entry for seq, (_, entry) in waits.items()})
        return [_job(*waits[one.seq], one) for one in taken]

    def take_in(self, arrivals: Sequence[Arrival], now: dt.datetime) -> list[Job]:
        """Write a batch in its order and return the new jobs. Raises ``DatabaseAway`` and ``LeaseLost``: give the batch back then.

        A batch of which anything else is raised is written in halves, until the message that is to blame is alone; it is set aside.
        """
        return self._take_in([(arrival, self.read(arrival, now)) for arrival in arrivals], now)

    def _take_in(self, read: Sequence[tuple[Arrival, _Reading]], now: dt.datetime) -> list[Job]:
        try:
            return self._write([reading for _, reading in read], now)
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a message raises, it must not hold up the others
            if len(read) > 1:
                middle = len(read) // 2
                return [*self._take_in(read[:middle], now), *self._take_in(read[middle:], now)]
            self._write_unfit(*read[0], error, now)
            return []

    def _write_unfit(self, arrival: Arrival, reading: _Reading, error: Exception, now: dt.datetime) -> None:
        """Answer and set aside a message that could not be written. If that fails too: set it aside in plain ASCII, unanswered."""
        if isinstance(error, DatabaseRefused):
            reason = "the database refused its content"
            log.error("message_refused_by_database", queue=arrival.queue, problem=str(error))
        else:
            reason = f"it could not be taken in: {describe_fault(error)}"
            log.error("message_not_taken_in", queue=arrival.queue, problem=reason)
        try:
            unfit = _set_aside(arrival, reason, now, _sender_of(arrival))
            if unfit.entry is not None and reading.entry is not None:
                unfit = replace(unfit, entry=replace(unfit.entry, dependents=reading.entry.dependents))
            self._write([unfit], now)
        except DatabaseAway:
            raise
        except Exception as again:  # noqa: BLE001 - what fails below, too, is not the message's fault
            log.error("message_not_answered", queue=arrival.queue, problem=describe_fault(again))
            self._write([_set_aside(arrival, reason, now, encode=True)], now)

    def accounts_of(self, arrivals: Sequence[Arrival]) -> list[str | None]:
        """Return for each message of the front door the account that it is for; None where ``take_in`` will make no job of it.

        SQL is asked once more before one is unknown; one that is wrong here is none. Raises ``DatabaseAway`` then, nothing else.
        """
        names = list(map(_account_named, arrivals))
        if any(name is not None and name not in self._accounts for name in names):
            unusable = self._look()
            return [name if name in self._accounts or (name and name in unusable) else None for name in names]
        return names

    def read(self, arrival: Arrival, now: dt.datetime) -> _Reading:
        """Return what is to be made of a message; raise ``LeaseLost`` alone."""
        try:
            return self._read(arrival, now)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a message raises, it must not hold up the others
            reason = f"it could not be read: {describe_fault(error)}"
            log.error("message_not_read", queue=arrival.queue, problem=reason)
            return _set_aside(arrival, reason, now, _sender_of(arrival))

    def _read(self, arrival: Arrival, now: dt.datetime) -> _Reading:
        if arrival.problem is not None:
            return _set_aside(arrival, arrival.problem, now)  # unanswered: it may be put back, and run
        try:
            envelope = read_envelope(arrival.raw)
        except UnreadableMessage as problem:
            return _set_aside(arrival, str(problem), now, problem.sender)
        kind = TASKS.get(envelope.task)
        if kind is None:
            return self._park(arrival, envelope, now)
        try:
            order = read_order(envelope, kind, arrival.account)
            self._check_texts(order)
        except InvalidJob as problem:
            return _refuse(arrival, envelope, problem, now)
        return self._accept(arrival, envelope, order, now)

    def _accept(self, arrival: Arrival, envelope: Envelope, order: Order, now: dt.datetime) -> _Reading:
        deferred = order.not_before is not None and order.not_before > now
        chat = order.kind.chat_of(order.fields)
        row = _row(arrival, envelope, order.account, order.job_id, now) | {
            "chat_type": chat.type if chat else None,
            "chat_id": chat.id if chat else None,
            "job_class": order.kind.job_class,
            "ordered": order.common.ordered,
            "lane": lane_of(order.kind, order.fields, order.common.ordered),
            "state": State.DEFERRED if deferred else State.READY,
            "due_at": order.not_before if deferred else None,
            "reason": reasons.not_before(order.not_before) if deferred and order.not_before else None,
            "expires_at": order.expires_at,
            "content_hash": order.content,
            "fields": encode_fields(order.fields),
            "envelope": arrival.raw.decode(),
        }
        settings = None if arrival.unknown else self._accounts.get(order.account)
        if settings is None:
            return _answer_unknown(arrival, row, envelope, order.common)
        outcome = _end_at_once(settings, order, now)
        requester = _requester(envelope, order.common)
        most_ahead, sends = _most_ahead(settings, order, now), order.kind.sends(order.fields)
        return _Reading(Entry(row, requester, outcome, sends=sends, most_ahead=most_ahead), order)

    def _check_texts(self, order: Order) -> None:
        """Raise ``InvalidJob`` for a text that the client would drop without a word, where the account wants to know."""
        account = self._accounts.get(order.account)
        if account is None or not account.check_texts:
            return
        texts = order.kind.texts_of(order.fields)
        marks = {name: mark for name, text in texts.items() if (mark := find_never_sent(text)) is not None}
        if marks:
            raise InvalidJob([FieldError(name, _NEVER_SENT.format(mark=mark)) for name, mark in marks.items()])

    def _park(self, arrival: Arrival, envelope: Envelope, now: dt.datetime) -> _Reading:
        common, errors = read_common(envelope)
        if errors:
            return _refuse(arrival, envelope, InvalidJob([_unknown_task(envelope.task), *errors]), now)
        account = arrival.account or common.account or DEFAULT_ACCOUNT
        own = {name: value for name, value in envelope.kwargs.items() if name not in COMMON_FIELDS}
        row = _row(arrival, envelope, account, common.job_id or envelope.task_id, now) | {
            "state": State.DEFERRED,
            "due_at": now + PARKED_FOR,
            "expires_at": earliest_expiry(common, envelope),
            "content_hash": content_hash(account, envelope.task, own),
            "reason": reasons.unknown_task(envelope.task, now + PARKED_FOR),
            "envelope": arrival.raw.decode(),
        }
        if arrival.unknown or account not in self._accounts:
            return _answer_unknown(arrival, row, envelope, common)
        return _Reading(Entry(row, _requester(envelope, common)))

    def _write(self, readings: Sequence[_Reading], now: dt.datetime) -> list[Job]:
        with_entry = [reading for reading in readings if reading.entry is not None]
        entries = [reading.entry for reading in with_entry if reading.entry is not None]
        taken = take_in(self._engine, entries, [reading.dead for reading in readings if reading.dead is not None], now)
        return [
            _job(reading.order, reading.entry, new)
            for reading, new in zip(with_entry, taken, strict=True)
            if new is not None and reading.order is not None and reading.entry is not None
        ]


def _account_named(arrival: Arrival) -> str | None:
    """Return the account that a message of the front door names; None where it names none that could be. Never raises."""
    try:
        account = read_envelope(arrival.raw).kwargs.get("account")
    except Exception:  # noqa: BLE001 - ``read`` says what is wrong with it
        return None
    if account is None:
        return DEFAULT_ACCOUNT
    return account if isinstance(account, str) else None


def _most_ahead(settings: AccountSettings, order: Order, now: dt.datetime) -> int | None:
    """Return how many jobs may be before it in its chat at most, so that its expiry can be met: they meet the same limits."""
    chat = order.kind.chat_of(order.fields)
    if not order.common.reject_if_late or order.expires_at is None or chat is None:
        return None
    left, limits = max(dt.timedelta(), order.expires_at - now), settings.limits
    of_class: Rate | None = getattr(limits, order.kind.steps_of(order.fields)[0].limit)
    rates = [rate for rate in (limits.account, limits.chat, of_class) if rate is not None]
    most = (left // dt.timedelta(microseconds=rate.interval_microseconds) + rate.burst - 1 for rate in rates)
    return min(most, default=None)


def _end_at_once(settings: AccountSettings, order: Order, now: dt.datetime) -> Outcome | None:
    refusal = settings.permissions.why_not(order.kind, order.fields)
    if refusal is not None:
        return failed(ErrorCode.NOT_PERMITTED, refusal)
    if order.expires_at is not None:
        if order.expires_at <= now:
            return expired("it had expired when it arrived")
        if order.common.reject_if_late and order.not_before is not None and order.expires_at <= order.not_before:
            return expired("it expires before the time at which it may be sent")
    return None


def unknown_task_outcome(task: str) -> Outcome:
    """Return the outcome of a job whose task no worker came to know."""
    return failed(ErrorCode.INVALID_JOB, str(_unknown_task(task)))


def _unknown_task(task: str) -> FieldError:
    near = find_nearest_task(task)
    hint = f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(TASKS))}"
    return FieldError("task", f"no worker knows {task!r}; {hint}")


def _answer_unknown(arrival: Arrival, row: dict[str, Any], envelope: Envelope, common: Common) -> _Reading:
    """Answer a message for an account that there is not. On its own queue the message stays, for the next one of this name."""
    if arrival.account is not None:
        raise LeaseLost(f"the account {arrival.account} was removed")
    unknown = failed(ErrorCode.UNKNOWN_ACCOUNT, f"no account {row['account']!r} is configured")
    return _answer(row, envelope, common, unknown)


def _refuse(arrival: Arrival, envelope: Envelope, problem: InvalidJob, now: dt.datetime) -> _Reading:
    """Answer an invalid job; set it aside too where the answer has no address that could be used."""
    common, _ = read_common(envelope)
    account = arrival.account or common.account or DEFAULT_ACCOUNT
    row = _row(arrival, envelope, account, common.job_id or envelope.task_id, now)
    unanswerable = any(error.field == "reply_to" for error in problem.fields)
    dead = _dead(arrival, str(problem), now, envelope.task_id) if unanswerable else None
    return _answer(row, envelope, common, failed(ErrorCode.INVALID_JOB, str(problem)), dead)


def _answer(
    row: dict[str, Any], envelope: Envelope, common: Common, outcome: Outcome, dead: Dead | None = None
) -> _Reading:
    """Answer a message that makes no job."""
    entry = Entry(row, _requester(envelope, common), outcome, is_job=False, dependents=envelope.dependents)
    return _Reading(entry, dead=dead)


def _row(arrival: Arrival, envelope: Envelope, account: str, job_id: str, now: dt.datetime) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "account": account,
        "task": envelope.task,
        "chat_type": None,
        "chat_id": None,
        "lane": PARKED_LANE,
        "job_class": JobClass.SYNC,
        "priority": envelope.priority,
        "ordered": True,
        "state": State.READY,
        "received_at": now,
        "due_at": None,
        "expires_at": envelope.expires_at,
        "content_hash": "",
        "fields": "{}",
        "reason": None,
        "envelope": None,
    }


def _requester(envelope: Envelope, common: Common) -> Requester:
    metadata = msgspec.json.encode(common.metadata).decode() if common.metadata is not None else None
    return Requester(envelope.task_id, common.reply_to or "", metadata, envelope.ignore_result)


def _set_aside(
    arrival: Arrival, reason: str, now: dt.datetime, sender: Sender | None = None, *, encode: bool = False
) -> _Reading:
    """Set a message aside that could not be read or written, and answer its Celery result where its id is known."""
    dead = _dead(arrival, reason, now, sender.task_id if sender else None, encode=encode)
    if sender is None:
        return _Reading(dead=dead)
    envelope = Envelope(sender.task, sender.task_id, {}, LOWEST_PRIORITY, None, None, sender.ignore_result, ())
    row = _row(arrival, envelope, arrival.account or DEFAULT_ACCOUNT, sender.task_id, now)
    outcome = failed(ErrorCode.INVALID_JOB, f"the message was set aside on worker68:dead: {reason}")
    return _answer(row, envelope, Common(), outcome, dead)


def _sender_of(arrival: Arrival) -> Sender | None:
    """Return whom to answer; None also where even the look for that fails."""
    try:
        return read_sender(arrival.raw)
    except Exception as error:  # noqa: BLE001 - then it is set aside unanswered
        log.error("message_not_read", queue=arrival.queue, problem=describe_fault(error))
        return None


def _dead(arrival: Arrival, reason: str, now: dt.datetime, task_id: str | None, *, encode: bool = False) -> Dead:
    """Return the entry for ``worker68:dead``: the message as it came (in base64 to ``encode``) and why."""
    log.warning("message_set_aside", queue=arrival.queue, reason=reason, task_id=task_id)
    entry = {"reason": reason, "queue": arrival.queue, "received_at": now, "task_id": task_id}
    return Dead(arrival.account or "", msgspec.json.encode(entry | pack_message(arrival.raw, encode=encode)).decode())


def _job(order: Order, entry: Entry, taken: Taken) -> Job:
    row = entry.row
    return Job(
        seq=taken.seq,
        job_id=order.job_id,
        task_id=entry.requester.task_id,
        account=order.account,
        kind=order.kind,
        fields=order.fields,
        priority=row["priority"],
        ordered=order.common.ordered,
        state=row["state"],
        attempts=0,
        custom_msg_id=taken.custom_msg_id,
        received_at=row["received_at"],
        due_at=row["due_at"],
        expires_at=row["expires_at"],
        wants_result=not entry.requester.ignore_result,
    )
