"""Everything that can go wrong with a simulated bridge, as knobs that are turned while the simulator runs.

In: a test that sets fields; names and values of a command line, a scenario or a message's text (``knobs``). Out: what the simulator
reads before each step. A plain knob holds until it is turned back; a ``Countdown`` holds for the next N frames that it concerns; a
``Trip`` acts once, on the Nth frame from now. Setting one is safe from any thread. The knobs of paged lists are in ``paging.py``,
those of how replies are written in ``spelling.py``, those of the client's own queues in ``queues.py``. Never: a fault that was not
asked for; a list of these knobs elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from worker68.simulator.knobs import (
    Countdown,
    CountdownByType,
    Trip,
    choice,
    error,
    nth,
    number,
    seconds,
    switch,
    times,
    times_by_type,
)
from worker68.simulator.paging import Paging
from worker68.simulator.queues import ClientKnobs
from worker68.simulator.spelling import Spelling

#: What becomes of a message, and what the bridge says of it.
Verdict = Literal["sent", "not_sent", "gave_up", "corrected", "none", "swallowed", "blocked"]

SecondClient = Literal["accepted", "refused", "replaces"]


@dataclass(slots=True)
class Faults:
    """The knobs. Slots make a misspelt one an error instead of a test that tests nothing."""

    # What becomes of sends
    verdict: Verdict = choice(
        "what becomes of a message: it goes out, verdict 1 (sent); it does not, verdict 0 (not_sent); it goes out, verdict 0 "
        "(gave_up), and then 1 after all (corrected); it goes out, and is echoed, without a verdict (none); it does not, and "
        "nothing is said (swallowed); the friend has blocked the account: a notice, verdict 0 (blocked)",
        get_args(Verdict),
        "sent",
        short={"not_sent": "not_sent", "in_doubt": "swallowed", "blocked": "blocked"},
    )
    lose_verdicts: Countdown = times("the next messages go out and are echoed, and get no verdict", by_message=True)
    extra_verdict_delay_seconds: float = seconds(
        "how much later than usual a verdict comes", by_message=True, short="late"
    )
    hold_verdicts: bool = switch("verdicts and echoes that are due wait until this is off")
    correction_seconds: float = seconds("with verdict corrected: from the 0 to the 1", 0.1, by_message=True)
    no_echo: bool = switch("the account's own message is not shown again", by_message=True)
    echo_first: bool = switch("the echo comes before the verdict", by_message=True)
    echo_keeps_escapes: bool = switch("a line break in an echo is written as backslash + n", by_message=True)
    no_reply_to_sends: bool = switch("sends are carried out and get verdicts, and no direct reply", by_message=True)
    verdict_before_reply: bool = switch("the verdict comes before the reply", by_message=True)

    # Wrong answers
    reply_delay_seconds: float = seconds("how much later than usual a reply comes", by_message=True)
    hold_replies: bool = switch("replies that are due wait until this is off")
    busy_sends: Countdown = times(
        "the next sends are answered with 300, busy, and not carried out", by_message=True, short={"busy": None}
    )
    busy_changes: Countdown = times("the next changes are answered with 300 and not made", by_message=True)
    busy_reads: Countdown = times("the next reads are answered with 300", by_message=True)
    refusals: Countdown = times(
        "the next requests are answered with the error that refusal holds, and not carried out",
        by_message=True,
        short={"refused": "always"},
    )
    refusal: dict[str, Any] = error("the error of refusals", {"errorCode": 403, "errorDesc": "没有权限"})
    service_errors: Countdown = times(
        "the next replies of the service have service_error_code as their errCode", by_message=True
    )
    service_error_code: int = number("the code of service_errors and bare_integers", 1021, by_message=True)
    bare_integers: Countdown = times("the next replies of the service are service_error_code itself", by_message=True)
    silence: CountdownByType = times_by_type("the next frames of a type are never answered, nor carried out")
    done_anyway: bool = switch(
        "what gets a wrong answer, silence or a dropped connection is carried out all the same", by_message=True
    )
    double_replies: Countdown = times("the next replies come twice", by_message=True)
    wrong_reply_ids: Countdown = times("the next replies have an id that was not used", by_message=True)
    numeric_reply_ids: bool = switch("an id of digits comes back as a number", by_message=True)
    replies_to_all: bool = switch("a reply goes to every client")
    unknown_type_error: bool = switch("a frame of an unknown type is answered with an error, not with silence")
    only_eleven_digits: bool = switch("a custom_msg_id of another length is not taken: the bridge makes its own")
    restarting_reply: bool = switch('restart68 is answered with "restarting" before the connection drops')
    check_api_base: bool = switch("a request to another base than the world's api_url is refused with 404")

    # Lists and how replies are written
    paging: Paging = field(default_factory=Paging)
    spelling: Spelling = field(default_factory=Spelling)

    # The connection
    drop_before_answer: Trip = nth(
        "the Nth frame from now is not answered, and the connection drops", short={"drop": "1"}
    )
    drop_after_answer: Trip = nth("the connection drops after the answer to the Nth frame from now")
    refuse_connections: bool = switch("WebSocket handshakes are answered with 503")
    second_client: SecondClient = choice(
        "what becomes of a client that is not alone: it is accepted, refused, or takes the place of the others",
        get_args(SecondClient),
        "accepted",
    )
    restart_seconds: float = seconds("how long connections are refused after restart68")
    no_hello: bool = switch("no Hello is said")
    no_pong: bool = switch("pings are not answered")

    # The client behind the bridge
    client: ClientKnobs = field(default_factory=ClientKnobs)
    logged_out: bool = switch("the client has lost its server: no socketLogin, and sends get verdict 0")
    no_heartbeat: bool = switch("no socketLogin is said")

    # Noise
    chatter_per_second: int = number("so many messages of others come in each second")
    garbage: bool = switch("before every reply comes a frame that means nothing", by_message=True)

    def clear(self) -> None:
        """Turn everything back."""
        healthy = Faults()
        for knob in fields(self):
            setattr(self, knob.name, getattr(healthy, knob.name))
