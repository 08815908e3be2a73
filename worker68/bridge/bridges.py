"""All bridge connections of a worker, on its event loop.

In: accounts to open and close. Out: links; callbacks about what happens on them. Never: a thread but for a try to connect, a wait.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from worker68.bridge.exchange import Listener
from worker68.bridge.health import Timing
from worker68.bridge.link import Link, LinkOptions
from worker68.bridge.session import MESSAGE_LIMIT, Terms
from worker68.loop import Loop


class Bridges:
    """The links of this process. Everything here belongs to the loop's thread."""

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
