"""A job's turn at the bridge, as the steps of its task see it: what they may call, and how they get the right to write once more.

In: a job, its account's bridge, and what execution lets it have. Out: evidence. The first frame has its slot already; each
further one takes a slot of its own, so that the limits hold for a step of a hundred pages too. Never: SQL; a wait that does not
end when the worker stops or loses the account.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace

from worker68.clock import Deadline
from worker68.jobs.evidence import TAKEN_SECONDS, Confirm, Evidence, judge_request, judge_send
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, Status, TryAgain, failed
from worker68.jobs.retry import back_off_seconds
from worker68.jobs.snapshot import ListSeen, Row
from worker68.jobs.task import LimitClass
from worker68.protocol.api import ApiCall
from worker68.protocol.messages import Message
from worker68.settings import AccountSettings

T = TypeVar("T")

#: How often a page or a part in the middle of a long read is asked for: the whole is begun anew only after that.
TRIES_IN_PLACE = 4


#: Asked just before the first byte of a frame: None lets it go, words refuse it, a point in monotonic time holds it until then.
Guard = Callable[[], "str | float | None"]
Finding = Outcome | TryAgain | ListSeen


class TurnOver(Exception):
    """The step must end here: the worker stops, or has lost the account. ``finding`` says what becomes of the job."""

    def __init__(self, finding: TryAgain) -> None:
        self.finding = finding
        super().__init__(finding.reason)


class Rows(Protocol):
    """Where a step puts the rows of a list, page by page."""

    def add(self, rows: Sequence[Row]) -> None: ...

    def __iter__(self) -> Any: ...


class Call(Protocol):
    """A frame that is to be written, or was."""

    @property
    def seconds_at_the_bridge(self) -> float: ...

    async def wait(self, deadline: Deadline) -> Evidence: ...


class Bridge(Protocol):
    """The account's bridge (``bridge/link.py``)."""

    @property
    def connections(self) -> int: ...

    @property
    def why_not_ready(self) -> str | None: ...

    @property
    def why_not_reached(self) -> str | None: ...

    def call(self, frame_type: str, *, reply_shape: Any, guard: Guard, needs_login: bool) -> Call: ...

    def request(
        self, request_type: str, path: str, data: Any, proto_type: str | None, *, reply_shape: Any, guard: Guard
    ) -> Call: ...

    def send(
        self, message: Message, custom_msg_id: str, *, confirm: Confirm, guard: Guard, attempt: int, again: bool
    ) -> Call: ...


class Context(Protocol):
    """What execution lets a step have. Each of these may raise ``TurnOver``."""

    async def wait_for_slot(self, limit: LimitClass, call: str) -> None:
        """Return when a further frame may be written, of a call of this kind."""

    def note_call(self, call: str) -> None:
        """The next frame is of a call of this kind, whatever its slot was asked for."""

    async def pause(self, seconds: float) -> None: ...

    async def report(self, finding: Outcome | TryAgain) -> None:
        """Report to the pace how a call in the middle of a step ended."""

    async def note_progress(self, words: str) -> None:
        """Show how far the step has come."""

    def collect(self, row: type[Row]) -> Rows: ...

    async def known_members(self, group_id: int) -> list[int]:
        """Return the members of a group as the last snapshot has them."""

    def account_memory(self, kind: type[T]) -> T:
        """Return what tasks remember of the account: one object of each class, made by the first that asks. New with each owner."""


@dataclass
class Turn:
    """One job's turn, on the loop. ``may_not_write`` is asked just before each first byte."""

    link: Bridge
    job: Job
    account: AccountSettings
    may_not_write: Guard
    context: Context
    _has_slot: bool = field(default=True, init=False)

    async def send(self, message: Message) -> Outcome | TryAgain:
        """Send the job's message, wait for the evidence that the account's settings ask for, and say what it proves."""
        custom_msg_id, confirm = self.job.custom_msg_id, self.account.confirm
        assert custom_msg_id is not None
        await self._take_slot("send", "")
        call = self.link.send(
            message,
            str(custom_msg_id),
            confirm=confirm,
            guard=self.may_not_write,
            attempt=self.job.attempts + 1,
            again=self.job.attempts > self.job.attempts_before,
        )
        seconds = self.account.verdict_timeout if confirm == "verdict" else self.account.reply_timeout
        seen = self._mark(await call.wait(Deadline.after(seconds)))
        return judge_send(replace(seen, not_taken=self._was_not_taken(call, seen)), custom_msg_id, confirm)

    def _was_not_taken(self, call: Call, seen: Evidence) -> bool:
        """Whether the client had time to show that it has taken a message, on a link that is still ready, and did not."""
        had_time = call.seconds_at_the_bridge >= TAKEN_SECONDS
        return had_time and not (seen.taken or seen.connection_lost) and self.link.why_not_ready is None

    async def call(self, frame_type: str, *, reply_shape: Any = Any, limit: LimitClass = "read") -> Evidence:
        """Make a plain call to the bridge and wait for its reply."""
        await self._take_slot(limit, frame_type)
        needs_login = self.job.now.needs_login
        return await self._wait(
            self.link.call(frame_type, reply_shape=reply_shape, guard=self.may_not_write, needs_login=needs_login)
        )

    async def ask(
        self, call: ApiCall, data: Any = None, *, reply_shape: Any = Any, limit: LimitClass = "read"
    ) -> Evidence:
        """Call the service's API through the bridge and wait for its reply."""
        await self._take_slot(limit, call.type)
        return await self._wait(
            self.link.request(
                call.type, call.path, data, call.proto_type, reply_shape=reply_shape, guard=self.may_not_write
            )
        )

    async def change(self, call: ApiCall, data: Any, done: Outcome | None = None) -> Outcome | TryAgain:
        """Make a change through the service's API. ``done``: the outcome of its success; without it that holds the reply's data."""
        finding = judge_request(await self.ask(call, data, limit="moderate"))
        return done if done is not None and is_success(finding) else finding

    async def show(self, call: ApiCall, data: Any = None) -> dict[str, Any]:
        """Return what the service shows of one thing, for a change to be read back; nothing where it does not answer so."""
        shown = data_of(judge_request(await self.ask(call, data)))
        return shown if isinstance(shown, dict) else {}

    async def ask_on(self, ask: Callable[[], Awaitable[Evidence]], *, pause_seconds: float = 0.0) -> Outcome | TryAgain:
        """Make a read in the middle of a longer one: what may be tried again is tried again here, so that nothing read is lost.

        ``pause_seconds``: what the service wants between two tries at least.
        """
        for number in range(1, TRIES_IN_PLACE + 1):
            finding = judge_request(await ask())
            await self.context.report(finding)
            if not isinstance(finding, TryAgain):
                return finding
            if number < TRIES_IN_PLACE:
                await self.context.pause(max(pause_seconds, back_off_seconds(number)))
        return finding

    async def _wait(self, call: Call) -> Evidence:
        return self._mark(await call.wait(Deadline.after(self.account.reply_timeout)))

    def _mark(self, seen: Evidence) -> Evidence:
        """Say of an error whether it is a busy one for this account."""
        if seen.error is None or seen.error.code not in self.account.slow_downs:
            return seen
        return replace(seen, error=dataclasses.replace(seen.error, busy=True))

    async def hold_slot(self, limit: LimitClass, call: str) -> None:
        """Return with a slot in hand for the next frame, which should be written at once; wait for one where there is none.

        ``call``: the kind of its call.
        """
        if not self._has_slot:
            await self.context.wait_for_slot(limit, call)
            self._has_slot = True

    def forgo_slot(self) -> None:
        """Leave the slot unused: what comes first will take longer than it lasts."""
        self._has_slot = False

    async def _take_slot(self, limit: LimitClass, call: str) -> None:
        await self.hold_slot(limit, call)
        self.context.note_call(call)
        self._has_slot = False


def is_success(finding: object) -> bool:
    return isinstance(finding, Outcome) and finding.status is Status.SUCCEEDED


def data_of(finding: Outcome | TryAgain) -> Any:
    """Return what the reply of a call that succeeded holds, an empty object where that is nothing; None for everything else."""
    if not isinstance(finding, Outcome) or not is_success(finding):
        return None
    assert finding.result is not None
    data = finding.result["data"]
    return {} if data is None else data


def holds_no(what: str) -> Outcome:
    """Return the outcome of a read whose reply does not hold what was asked for."""
    return failed(ErrorCode.REFUSED, f"the bridge's reply holds no {what}")
