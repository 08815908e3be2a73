"""The URL of a bridge: whether it is one, which bridge it is however it is spelled, and how it is shown.

Never: a password of it in what is shown.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from urllib.parse import unquote, urlsplit

_EXPECTED = "expected ws://HOST:PORT, like ws://127.0.0.1:5600"
#: Numbers as ``inet_aton`` reads them, one to four.
_NUMBERS = re.compile(r"[0-9a-fx]+(\.[0-9a-fx]+){0,3}", re.ASCII)


def check_bridge_url(url: str) -> str:
    """Return the URL of a bridge; raise ``ValueError``, which does not show it, where it is none.

    Stricter than a URL may be, as the client library is: it takes the scheme in small letters alone.
    """
    try:
        parts = urlsplit(url)
        right = url.startswith(("ws://", "wss://")) and bool(parts.hostname) and parts.port != 0
        right = right and not any(map(str.isspace, url))
    except ValueError:
        right = False
    if not right:
        raise ValueError(_EXPECTED)
    return url


@lru_cache(maxsize=4096)
def address_of(url: str) -> tuple[str, ...]:
    """Return the same for every spelling of one bridge's URL: case, default port, slashes at the end, IP address."""
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    if (address := _ip_address(host)) is not None:
        # A connection to the unspecified address ends at this host, too.
        host = "localhost" if address.is_loopback or address.is_unspecified else str(address)
    return host, str(port), unquote(parts.path).rstrip("/"), parts.query


def show_bridge_url(url: str) -> str:
    """Return the URL as people may see it: without a user's name, a password, and what stands in its query."""
    parts = urlsplit(url)
    host = f"***@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    return parts._replace(netloc=host, query="***" if parts.query else "", fragment="").geturl()


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, in any spelling that a connection takes; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _short_ipv4(host)
    return getattr(address, "ipv4_mapped", None) or address


def _short_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address of fewer parts than four, or of octal or hexadecimal ones, like ``127.1`` and ``2130706433``."""
    if not _NUMBERS.fullmatch(host):  # inet_aton overlooks what follows a space
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
