"""Everything that can go wrong with a simulated bridge, as knobs that a test turns while the simulator runs.

A plain knob holds until it is turned back; a ``Countdown`` holds for the next N frames that it concerns; a ``Trip`` acts once, on
the Nth frame from now. Setting one is safe from any thread. Never: a fault that nobody asked for.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

#: Set a ``Countdown`` to this for a fault that lasts until it is cleared.
ALWAYS: Final = 2**62

#: What becomes of a message, and what the bridge says of it.
#: ``sent``: it goes out; verdict 1 and echo. ``not_sent``: it does not; verdict 0. ``gave_up``: it goes out, but the client has
#: stopped waiting; verdict 0, no echo. ``corrected``: as before, then verdict 1 and echo after all. ``none``: it goes out; echo,
#: no verdict. ``swallowed``: it does not go out, and nothing is said.
Verdict = Literal["sent", "not_sent", "gave_up", "corrected", "none", "swallowed"]


class Countdown:
    """A fault for the next N times. The lock guards the number between the test's thread and the simulator's."""

    def __init__(self, times: int = 0) -> None:
        self._lock = threading.Lock()
        self._times = times

    def set(self, times: int) -> None:
        with self._lock:
            self._times = times

    @property
    def left(self) -> int:
        return self._times

    def take(self) -> bool:
        """Use up one and say whether there was one."""
        if self._times <= 0:
            return False
        with self._lock:
            had_one = self._times > 0
            self._times -= had_one
            return had_one


class Trip(Countdown):
    """A fault that acts once: on the Nth time from now; 0 is never."""

    def take(self) -> bool:
        """Count one more and say whether it is the Nth."""
        with self._lock:
            is_last = self._times == 1
            self._times = max(0, self._times - 1)
            return is_last


class CountdownByType:
    """A countdown for each request type (``GroupDetail``, ``sendMsg``, ...). The lock guards the numbers."""

    def __init__(self, times: dict[str, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._times = Counter(times or {})

    def set(self, request_type: str, times: int) -> None:
        with self._lock:
            self._times[request_type] = times

    def take(self, request_type: str) -> bool:
        with self._lock:
            had_one = self._times[request_type] > 0
            self._times[request_type] -= had_one
            return had_one


@dataclass(slots=True)
class Faults:
    """The knobs. Slots make a misspelt one an error instead of a test that tests nothing."""

    # What becomes of sends
    verdict: Verdict = "sent"
    lose_verdicts: Countdown = field(default_factory=Countdown)
    """The next N messages go out and are echoed (unless ``no_echo``), but bear no verdict."""
    extra_verdict_delay_seconds: float = 0.0
    """On top of ``Simulator.verdict_delay_seconds``; about 15 with ``verdict="gave_up"`` is the client that stopped waiting."""
    correction_seconds: float = 0.1
    """With ``verdict="corrected"``: from the 0 to the 1."""
    no_echo: bool = False
    echo_first: bool = False
    echo_keeps_escapes: bool = False
    """A line break in an echo is written as backslash + n instead of as a line feed."""
    no_reply_to_sends: bool = False
    """Sends are carried out and bear verdicts, but no direct reply ever comes (PROTOCOL.md: the reply is [open])."""
    verdict_before_reply: bool = False

    # Wrong answers
    reply_delay_seconds: float = 0.0
    busy_sends: Countdown = field(default_factory=Countdown)
    busy_changes: Countdown = field(default_factory=Countdown)
    busy_reads: Countdown = field(default_factory=Countdown)
    refusals: Countdown = field(default_factory=Countdown)
    """The next N answers are ``refusal`` as their ``error``."""
    refusal: dict[str, Any] = field(default_factory=lambda: {"errorCode": 403, "errorDesc": "没有权限"})
    service_errors: Countdown = field(default_factory=Countdown)
    """The next N ``request`` answers have ``service_error_code`` as their ``commonResult.errCode``."""
    service_error_code: int = 1021
    bare_integers: Countdown = field(default_factory=Countdown)
    """The next N ``request`` answers have ``service_error_code`` itself as their ``data``."""
    silence: CountdownByType = field(default_factory=CountdownByType)
    """The next N frames of a type are never answered."""
    done_anyway: bool = False
    """What gets a wrong answer, silence or a dropped connection is carried out all the same, its verdict included."""
    double_replies: Countdown = field(default_factory=Countdown)
    wrong_reply_ids: Countdown = field(default_factory=Countdown)
    """The next N replies bear an id that nobody used."""
    numeric_reply_ids: bool = False
    """An id of digits comes back as a number."""
    restarting_reply: bool = False
    """``restart68`` is answered with "restarting" before the connection drops."""
    check_api_base: bool = False
    """A ``request`` to another base than the world's ``api_url`` is refused with error 404."""

    # The connection
    drop_before_answer: Trip = field(default_factory=Trip)
    drop_after_answer: Trip = field(default_factory=Trip)
    refuse_connections: bool = False
    """The WebSocket handshake is answered with 503. For a refused port stop the simulator and start it again."""
    restart_seconds: float = 0.0
    """How long connections are refused after ``restart68``."""
    no_hello: bool = False

    # The client behind the bridge
    logged_out: bool = False
    """``socketLoginout`` once, then no ``socketLogin``; sends get verdict 0."""
    no_heartbeat: bool = False

    # Noise
    garbage: bool = False
    """Before every reply comes a frame that means nothing; every kind but the huge one in turn."""

    def clear(self) -> None:
        """Turn everything back."""
        healthy = Faults()
        for knob in fields(self):
            setattr(self, knob.name, getattr(healthy, knob.name))
