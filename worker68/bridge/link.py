"""An account's bridge as the rest of worker68 sees it: is it ready, and if so, call it.

In: calls and messages, from any thread. Out: a ``Call`` to wait for; the state. Never: a socket, a wait (but in ``wait_ready``),
a call that is kept for later: while the link is down every call is refused at once, with not a byte written.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from functools import partial
from typing import Any

from worker68.bridge.calls import Call, Guard
from worker68.bridge.pending import Pending, SendTerms
from worker68.bridge.session import LinkOptions, Session, Surroundings
from worker68.clock import Deadline
from worker68.jobs.judge import Confirm
from worker68.protocol.messages import Message, encode_call, encode_message, expected_echo, request_data

__all__ = ["Guard", "Link", "LinkOptions"]

#: Request ids are unique beyond this process: whether a bridge answers clients other than the asker is [open].
_PROCESS = secrets.token_hex(4)
_numbers = itertools.count(1)


class Link:
    """One account's bridge. Thread-safe. Made by ``BridgeIO.open``."""

    def __init__(
        self, account: str, url: str, options: LinkOptions, surroundings: Surroundings, *, ids_given_back: bool
    ) -> None:
        self.account = account
        self.url = url
        self.options = options
        self.session = Session(
            account,
            url,
            options,
            surroundings,
            ids_given_back=ids_given_back,
            new_request_id=_new_request_id,
            publish=self._publish,
        )
        self._post = partial(surroundings.post, self.session)
        self._changed = threading.Condition()  # guards the three fields below
        self._why_not_ready: str | None = "not opened yet"
        self._why_not_reached: str | None = self._why_not_ready
        self._api_url: str | None = None

    # -- the state

    @property
    def ready(self) -> bool:
        """Whether calls are taken: connected, Hello seen, and the client's login to its server fresh."""
        return self._why_not_ready is None

    @property
    def why_not_ready(self) -> str | None:
        """None while ready, else the reason in plain words."""
        return self._why_not_ready

    @property
    def why_not_reached(self) -> str | None:
        """None while the client itself can be told something, logged in or not, else the reason in plain words."""
        return self._why_not_reached

    def why_not(self, needs_login: bool) -> str | None:
        """Say why a call cannot be made now, which goes on to the service or not; None where it can."""
        return self._why_not_ready if needs_login else self._why_not_reached

    @property
    def api_url(self) -> str | None:
        """The base of the service's HTTP API as the bridge told it on this connection, without a slash at its end, or None."""
        return self._api_url

    @property
    def one_send_per_chat(self) -> bool:
        """Whether a chat may have only one send under way now, because its verdict may be told by the chat alone."""
        return self.session.correlation.one_send_per_chat

    @property
    def one_send(self) -> bool:
        """Whether the account may have only one new send under way now: a connection was lost with sends under way."""
        return self.session.correlation.one_send

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self.counters["connections"]

    @property
    def counters(self) -> dict[str, int]:
        """What happened so far, by kind (``tally.Kind``)."""
        return self.session.tally.read()

    def wait_ready(self, deadline: Deadline) -> bool:
        """Wait until the link is ready or the deadline passes; return whether it is ready."""
        with self._changed:
            return self._changed.wait_for(lambda: self._why_not_ready is None, deadline.remaining())

    def _publish(self, why_not_ready: str | None, why_not_reached: str | None, api_url: str | None) -> bool:
        """Take over the state from the I/O thread; return whether it has changed."""
        state = (why_not_ready, why_not_reached, api_url)
        if state == (self._why_not_ready, self._why_not_reached, self._api_url):
            return False
        with self._changed:
            self._why_not_ready, self._why_not_reached, self._api_url = state
            self._changed.notify_all()
        return True

    # -- calls

    def call(
        self,
        frame_type: str,
        data: Any = None,
        *,
        reply_shape: Any = Any,
        guard: Guard | None = None,
        needs_login: bool = True,
    ) -> Call:
        """Make a plain call (``getGroups``, ``getApiUrl``, ``restart68``): its reply settles it, a lost connection ends it.

        The evidence has the reply's data as ``reply_shape`` where it is that, else as plain JSON values.
        """
        pending = Pending(_new_request_id(), reply_shape=reply_shape)
        frame = encode_call(pending.request_id, frame_type, data)
        return self._submit(pending, frame, guard, needs_login)

    def request(
        self,
        request_type: str,
        path: str,
        data: Any = None,
        proto_type: str | None = None,
        *,
        reply_shape: Any = Any,
        guard: Guard | None = None,
    ) -> Call:
        """Call the service's HTTP API through the bridge. Refused while its base URL is not known."""
        base = self._api_url
        if base is None:
            call = Call(Pending(_new_request_id()), b"", None, lambda call: None)
            call.finish(self._why_not_ready or "the bridge has not told the API's address yet")
            return call
        frame_data = request_data(request_type, base + path, data, proto_type)
        return self.call("request", frame_data, reply_shape=reply_shape, guard=guard)

    def send(
        self,
        message: Message,
        custom_msg_id: str,
        *,
        confirm: Confirm | None = None,
        guard: Guard | None = None,
        attempt: int | None = None,
    ) -> Call:
        """Send a message. Its call outlives the connection: a verdict may come over the next one.

        Refused while another send with this ``custom_msg_id`` is under way, or, where ``one_send_per_chat``, another to its chat,
        or, where ``one_send``, any other. ``attempt``: which try of its job it is, which late evidence names.
        """
        newline = self.options.newline
        texts, confirm = expected_echo(message, newline), confirm or self.options.confirm
        terms = SendTerms(custom_msg_id, message.chat, texts, confirm, attempt)
        pending = Pending(_new_request_id(), terms)
        written_id = custom_msg_id if self.session.correlation.writes_ids else None
        return self._submit(pending, encode_message(pending.request_id, message, written_id, newline), guard)

    def _submit(self, pending: Pending, frame: bytes, guard: Guard | None, needs_login: bool = True) -> Call:
        call = Call(pending, frame, guard, self._withdraw, needs_login)
        self._post(partial(self.session.submit, call))
        return call

    def _withdraw(self, call: Call) -> None:
        self._post(partial(self.session.withdraw, call))


def _new_request_id() -> str:
    return f"{_PROCESS}-{next(_numbers)}"
