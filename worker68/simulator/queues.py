"""The 68 client's own queues between the chat service and the bridge, as its source shows them (PROTOCOL.md, seen).

In: messages that go out, frames that come in, events for the bridge's clients. Out: the same, one at a time, late, or gathered in
one frame, as the knobs say; by default at once. For the event loop's thread only. Never: what a message or an event means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from worker68.clock import monotonic
from worker68.simulator.clients import Clients
from worker68.simulator.knobs import choice, seconds, switch
from worker68.simulator.shapes import Json

#: Runs a call after so many seconds.
Later = Callable[[float, Callable[[], object]], None]

#: How several events are written in one frame: the exact form is [open].
BatchForm = Literal["operator", "array"]


@dataclass(slots=True)
class ClientKnobs:
    """The knobs of the client. The scenario ``client-queues`` sets what is reported of a real one."""

    out_gap_seconds: float = seconds("one message goes out in so long a time; a real client: 100ms")
    in_gap_seconds: float = seconds("one frame of the chat service is read in so long a time; a real client: 80ms")
    give_up_seconds: float = seconds(
        "a message without a verdict gets a 0 after so long a time, and a 1 may follow; a real client: 15s"
    )
    logout_delay_seconds: float = seconds("so late it is said that the client lost its server; a real client: 9s")
    batch_seconds: float = seconds("events within so long a time come in one frame; newer clients: 160ms")
    batch_form: BatchForm = choice(
        "how several events are one frame: with the operator __batch__ or as an array", get_args(BatchForm), "operator"
    )
    pending_echo: bool = switch("a message is shown at once with readStatus -1; later only its verdict comes")
    drops_code: bool = switch(
        "a text with eval(, child_process, .exec or atob( is never sent: no echo, a 0 when the client gives up"
    )


def wait(later: Later, seconds: float, call: Callable[[], object]) -> None:
    """Call at once when there is nothing to wait for, so that order is kept and a benchmark pays nothing."""
    if seconds > 0:
        later(seconds, call)
    else:
        call()


class Queue:
    """Runs calls in their order, one in so long a time."""

    def __init__(self, later: Later) -> None:
        self._later = later
        self._free_at = 0.0

    def run(self, gap_seconds: float, call: Callable[[], object]) -> None:
        """Run a call at once if the one before it is long enough ago, else as soon as it is."""
        now = monotonic()
        at = max(now, self._free_at)
        self._free_at = at + gap_seconds
        if at > now:
            self._later(at - now, call)
        else:
            call()

    @property
    def behind_seconds(self) -> float:
        """How long a call would wait now."""
        return max(0.0, self._free_at - monotonic())


class EventStream:
    """Events on their way to all clients of the bridge."""

    def __init__(self, clients: Clients, knobs: Callable[[], ClientKnobs], later: Later) -> None:
        self._clients = clients
        self._knobs = knobs
        self._later = later
        self._inward = Queue(later)
        self._gathered: list[Json] = []

    @property
    def behind_seconds(self) -> float:
        """How long a frame of the chat service would wait now until the client reads it."""
        return self._inward.behind_seconds

    def take_in(self, call: Callable[[], object]) -> None:
        """Run what follows from one frame of the chat service, once the client has read it."""
        self._inward.run(self._knobs().in_gap_seconds, call)

    def take_in_event(self, event: Json) -> int:
        """Post an event that comes from the chat service; return how many clients are there."""
        self.take_in(partial(self.post, event))
        return len(self._clients)

    def post(self, event: Json) -> int:
        """Put an event on its way, alone or with others of the same moment; return how many clients are there."""
        moment = self._knobs().batch_seconds
        if moment == 0 and not self._gathered:
            return self._clients.post(event)
        self._gathered.append(event)
        if len(self._gathered) == 1:
            self._later(moment, self._post_gathered)
        return len(self._clients)

    def _post_gathered(self) -> None:
        events, self._gathered = self._gathered, []
        if len(events) == 1:
            self._clients.post(events[0])
            return
        form: dict[BatchForm, Any] = {"array": events, "operator": {"operator": "__batch__", "data": events}}
        self._clients.post(form[self._knobs().batch_form])
