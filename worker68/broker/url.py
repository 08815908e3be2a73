"""The address of Redis: one URL that redis-py, kombu and Celery's result backend read in the same way. Never connects."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# Celery writes these as the names of Python's constants, redis-py only knows the short words; all three know the short words.
_SHORT_WORDS = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "optional", "CERT_NONE": "none"}


def spell_out_tls(redis_url: str) -> str:
    """Return the URL with its wish about certificates in the one form that everybody understands.

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
