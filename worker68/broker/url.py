"""The address of Redis: one URL that redis-py, kombu and Celery's result backend read in the same way. Never connects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    import ssl  # takes a while to import, and most need none of it

# Celery writes these as the names of Python's constants, redis-py only knows the short words; all three know the short words.
_SHORT_WORDS = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "optional", "CERT_NONE": "none"}

#: What all three read from a query. Everything else ends in a traceback of one of them, or is passed over.
_QUERY: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

_DATABASE: Final = re.compile(r"/?|/[0-9]{1,5}")


def check_redis_url(url: str) -> str:
    """Return the URL if all three readers understand the same by it; raise ``ValueError``, which does not show the URL."""
    problem = _find_problem(url)
    if problem is not None:
        raise ValueError(f"expected redis://HOST:PORT/DB or rediss://HOST:PORT/DB{problem}")
    return url


def _find_problem(url: str) -> str | None:
    """Return what is wrong with the URL, as the end of a sentence; None if nothing is."""
    try:
        parts = urlsplit(url)
        has_address = bool(parts.hostname) and parts.port != 0
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        return ""
    if parts.scheme not in ("redis", "rediss") or not has_address or re.search(r"[\s#]", url):
        return "; a password must be percent-encoded" if "@" in url else ""
    if not _DATABASE.fullmatch(parts.path):
        return ": the path is the number of a database"
    if query and parts.scheme == "redis":
        return " without a query: worker68 sets timeouts and the like itself"
    if not query.keys() <= set(_QUERY) or "" in query.values():
        return f": the query may hold {', '.join(_QUERY)} and nothing else"
    wish = query.get("ssl_cert_reqs", "required")
    if wish not in (*_SHORT_WORDS, *_SHORT_WORDS.values()):
        return f": ssl_cert_reqs is one of {', '.join(_SHORT_WORDS.values())}"
    return None


def make_tls_context(url: str) -> ssl.SSLContext:
    """Return what a connection to this ``rediss://`` URL is wrapped with, as redis-py would. Raises ``OSError`` for its files."""
    import ssl

    query = dict(parse_qsl(urlsplit(spell_out_tls(url)).query))
    context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
    if query["ssl_cert_reqs"] != "required":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE if query["ssl_cert_reqs"] == "none" else ssl.CERT_OPTIONAL
    if "ssl_certfile" in query:
        context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"))
    return context


def spell_out_tls(redis_url: str) -> str:
    """Return the URL with its wish about certificates in the one form that redis-py, kombu and Celery understand.

    A ``rediss://`` URL that wishes nothing gets ``ssl_cert_reqs=required``: kombu would go on without TLS or without
    checking the certificate, and Celery's result backend would refuse it.
    """
    parts = urlsplit(redis_url)
    if parts.scheme != "rediss":
        return redis_url
    query = dict(parse_qsl(parts.query))
    wish = query.get("ssl_cert_reqs", "required")
    query["ssl_cert_reqs"] = _SHORT_WORDS.get(wish, wish)
    return urlunsplit(parts._replace(query=urlencode(query)))
