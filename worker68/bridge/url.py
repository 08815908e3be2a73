"""The URL of a bridge: whether it is one, which bridge it is however it is spelled, and how it is shown.

Never: a password of it in what is shown.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import unquote, urlsplit

_EXPECTED = "expected ws://HOST:PORT, like ws://127.0.0.1:5600"


def check_bridge_url(url: str) -> str:
    """Return the URL of a bridge; raise ``ValueError``, which does not show it, where it is none."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("ws", "wss") and parts.netloc != "" and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ValueError(_EXPECTED)
    return url


@lru_cache(maxsize=4096)
def address_of(url: str) -> tuple[str, ...]:
    """Return the same for every spelling of one bridge's URL: case, default port, slashes at the end, names of this host."""
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    if _is_loopback(host):
        host = "localhost"
    return host, str(port), unquote(parts.path).rstrip("/"), parts.query


def show_bridge_url(url: str) -> str:
    """Return the URL as people may see it: without a user's name, a password, and what stands in its query."""
    parts = urlsplit(url)
    host = f"***@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    return parts._replace(netloc=host, query="***" if parts.query else "", fragment="").geturl()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
