"""An account's bridge as the rest of worker68 sees it: is it ready, and if so, call it.

In: calls and messages, on the loop. Out: a ``Call`` to wait for; the state, for any thread. Never: a socket, a wait, a call that is
kept for later: while the link is down every call is refused at once, with not a byte written.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog

from worker68.bridge.calls import Call, Guard, Pending, SendTerms, new_request_id
from worker68.bridge.exchange import LinkOptions, Listener
from worker68.bridge.health import Timing
from worker68.bridge.runner import Runner
from worker68.bridge.session import MESSAGE_LIMIT, Session, State, Terms
from worker68.jobs.evidence import Confirm
from worker68.loop import Loop
from worker68.protocol.messages import Message, encode_call, encode_message, expected_echo, request_data

__all__ = ["Guard", "Link", "LinkOptions"]

log = structlog.get_logger(__name__)


class Link:
    """One account's bridge. Made by ``Bridges.open``. Calls are made on the loop; what it *is* any thread may read."""

    def __init__(
        self, account: str, url: str, options: LinkOptions, terms: Terms, loop: Loop, *, ids_given_back: bool
    ) -> None:
        self.account = account
        self.url = url
        self.options = options
        self._on_change = partial(terms.listener.on_change, account)
        self._runner = Runner(loop, self._show)
        self.session = Session(account, url, options, terms, self._runner, ids_given_back=ids_given_back)
        self._runner.attach(self.session)
        self.state = State()

    def open(self) -> None:
        """Begin to connect, and go on until closed."""
        self._runner.step(self.session.open)

    def close(self) -> None:
        """Drop the connection and end every call; afterwards every call is refused."""
        self._runner.close()

    # -- the state

    @property
    def ready(self) -> bool:
        """Whether calls are taken: connected, Hello seen, and the client's login to its server fresh."""
        return self.state.why_not_ready is None

    @property
    def why_not_ready(self) -> str | None:
        """None while ready, else the reason in plain words."""
        return self.state.why_not_ready

    @property
    def why_not_reached(self) -> str | None:
        """None while the client itself can be called, logged in or not, else the reason in plain words."""
        return self.state.why_not_reached

    def why_not(self, needs_login: bool) -> str | None:
        """Say why a call cannot be made now, which goes on to the service or not; None where it can."""
        return self.state.why_not_ready if needs_login else self.state.why_not_reached

    @property
    def api_url(self) -> str | None:
        """The base of the service's HTTP API as the bridge said it on this connection, without a slash at its end, or None."""
        return self.state.api_url

    @property
    def one_send_per_chat(self) -> bool:
        """Whether a chat may have only one send under way now, because only the chat may tell which send a verdict is about."""
        return self.session.exchange.correlation.one_send_per_chat

    @property
    def one_send(self) -> bool:
        """Whether the account may have only one new send under way now: a connection was lost with sends under way."""
        return self.session.exchange.correlation.one_send

    @property
    def ids_given_back(self) -> bool:
        """Whether the bridge has given back an id of ours, so that it knows ``custom_msg_id``."""
        return self.session.exchange.correlation.ids_given_back

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self.counters["connections"]

    @property
    def counters(self) -> dict[str, int]:
        """What happened so far, by kind (``tally``)."""
        return {str(kind): count for kind, count in self.session.exchange.tally.items()}

    def _show(self) -> None:
        """Replace the state, if it has changed, and say so. A link that we have closed is no trouble of the bridge."""
        before, after = self.state, self.session.state()
        if after == before:
            return
        self.state = after
        if after.closed:
            return
        if after.why_not_ready != before.why_not_ready and not after.coming_up:
            self._log(after.why_not_ready)
        self.session.exchange.call_back(self._on_change)

    def _log(self, problem: str | None) -> None:
        if problem is None:
            log.info("bridge_ready", account=self.account)
        else:
            log.warning("bridge_not_ready", account=self.account, reason=problem, remedy="trying again; jobs wait")

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
        pending = Pending(new_request_id(), reply_shape=reply_shape)
        return self._submit(pending, encode_call(pending.request_id, frame_type, data), guard, needs_login)

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
        base = self.state.api_url
        if base is None:
            call = Call(Pending(new_request_id()), b"")
            call.finish(self.why_not_ready or "the bridge has not said the API's address yet")
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
        again: bool = False,
    ) -> Call:
        """Send a message. Its call outlives the connection: a verdict may come over the next one.

        Refused while another send with this ``custom_msg_id`` is under way, or, where ``one_send_per_chat``, another to its chat,
        or, where ``one_send``, any other. ``attempt``: which try of its job it is, which late evidence names. ``again``: an earlier
        one may have written the message.
        """
        newline = self.options.newline
        texts, confirm = expected_echo(message, newline), confirm or self.options.confirm
        terms = SendTerms(custom_msg_id, message.chat, texts, confirm, attempt, again)
        pending = Pending(new_request_id(), terms)
        written_id = custom_msg_id if self.session.exchange.correlation.writes_ids else None
        return self._submit(pending, encode_message(pending.request_id, message, written_id, newline), guard)

    def _submit(self, pending: Pending, frame: bytes, guard: Guard | None, needs_login: bool = True) -> Call:
        call = Call(pending, frame, guard=guard, needs_login=needs_login, give_up=self._withdraw)
        self._runner.step(self.session.submit, call)
        return call

    def _withdraw(self, call: Call) -> None:
        self._runner.step(self.session.exchange.withdraw, call)


class Bridges:
    """The links of this process, by account. Everything here belongs to the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        listener: Listener,
        *,
        message_limit: int = MESSAGE_LIMIT,
        timing: Timing | None = None,
    ) -> None:
        self._loop = loop
        self._terms = Terms(listener, timing or Timing(), message_limit)
        self._links: dict[str, Link] = {}
        self._knows_ids: set[tuple[str, str]] = set()  # accounts and URLs of bridges that have given back an id of ours
        self._stopped = False

    def open(self, account: str, url: str, options: LinkOptions | None = None) -> Link:
        """Begin to connect to an account's bridge, and go on until it is closed. An earlier link of the account is closed first.

        Raises ValueError for a URL that is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"{url!r} is no bridge URL: it should look like ws://127.0.0.1:5600")
        self.close(account)
        knows_ids = (account, url) in self._knows_ids
        link = Link(account, url, options or LinkOptions(), self._terms, self._loop, ids_given_back=knows_ids)
        if self._stopped:
            link.close()
        else:
            self._links[account] = link
            link.open()
        return link

    def close(self, account: str) -> None:
        """Drop an account's connection, if it has one: nothing more is written for it, and its calls are over."""
        link = self._links.pop(account, None)
        if link is None:
            return
        link.close()
        if link.ids_given_back:
            self._knows_ids.add((account, link.url))

    def stop(self) -> None:
        """Drop every connection and end every wait. Idempotent; afterwards every call is refused."""
        self._stopped = True
        for account in list(self._links):
            self.close(account)
