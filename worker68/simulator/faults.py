"""Everything that can go wrong with a simulated bridge, as knobs that a test turns while the simulator runs.

A plain knob holds until it is turned back; a ``Countdown`` holds for the next N frames that it concerns; a ``Trip`` acts once, on
the Nth frame from now. Setting one is safe from any thread. Those of paged lists are in ``paging.py``, those of the looseness of
replies in ``spelling.py``. Never: a fault that was not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from worker68.simulator.countdown import Countdown, CountdownByType, Trip
from worker68.simulator.paging import Paging
from worker68.simulator.spelling import Spelling

#: What becomes of a message, and what the bridge says of it.
#: ``sent``: it goes out; verdict 1 and echo. ``not_sent``: it does not; verdict 0. ``gave_up``: it goes out, but the client has
#: stopped waiting; verdict 0, no echo. ``corrected``: as before, then verdict 1 and echo after all. ``none``: it goes out; echo,
#: no verdict. ``swallowed``: it does not go out, and nothing is said.
Verdict = Literal["sent", "not_sent", "gave_up", "corrected", "none", "swallowed"]


@dataclass(slots=True)
class Faults:
    """The knobs. Slots make a misspelt one an error instead of a test that tests nothing."""

    # What becomes of sends
    verdict: Verdict = "sent"
    lose_verdicts: Countdown = field(default_factory=Countdown)
    """The next N messages go out and are echoed (unless ``no_echo``), but bear no verdict."""
    extra_verdict_delay_seconds: float = 0.0
    """On top of ``Simulator.verdict_delay_seconds``; about 15 with ``verdict="gave_up"`` is the client that stopped waiting."""
    hold_verdicts: bool = False
    """Verdicts and echoes that are due are sent once this is turned back."""
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
    """The next N replies bear an id that was not used."""
    numeric_reply_ids: bool = False
    """An id of digits comes back as a number."""
    restarting_reply: bool = False
    """``restart68`` is answered with "restarting" before the connection drops."""
    check_api_base: bool = False
    """A ``request`` to another base than the world's ``api_url`` is refused with error 404."""

    # Lists and how replies are written
    paging: Paging = field(default_factory=Paging)
    spelling: Spelling = field(default_factory=Spelling)

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
