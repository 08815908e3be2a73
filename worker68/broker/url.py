"""The address of Redis: one URL, which redis-py, kombu, Celery's result backend and ``health`` read alike. Never connects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    import ssl  # takes a while to import, and most need none of it

# Celery writes these as the names of Python's constants, redis-py only knows the short words; all know the short words.
_SHORT_WORDS = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "optional", "CERT_NONE": "none"}

#: What all read from a query about TLS. Everything else ends in a traceback of one of them, or is passed over.
_TLS_QUERY: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: Sentinels may have a login of their own.
_SENTINEL_QUERY: Final = ("sentinel_username", "sentinel_password")

_REDIS: Final = "redis://HOST:PORT/DB or rediss://HOST:PORT/DB"
_SENTINEL: Final = "sentinel://HOST:PORT,HOST:PORT/MASTER/DB or sentinels://HOST:PORT,HOST:PORT/MASTER/DB"
_SCHEMES: Final = ("redis", "rediss", "sentinel", "sentinels")
_WITH_TLS: Final = ("rediss", "sentinels")

#: Scheme, login and hosts, path, query. Python's ``urlsplit`` takes several hosts for a wrong one where a later one is ``[IPv6]``.
_PARTS: Final = re.compile(r"([A-Za-z]+)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_DATABASE: Final = re.compile(r"/?|/[0-9]{1,5}")
#: The characters that a sentinel takes in the name of a master.
_MASTER: Final = re.compile(r"/([A-Za-z0-9._-]+)(/?|/[0-9]{1,5})")


class Login(NamedTuple):
    """A user and a password, as far as the URL has them."""

    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Login({self.username!r})"


class RedisAddress(NamedTuple):
    """What ``REDIS_URL`` says. ``hosts``: the server, or the sentinels that know where ``master`` is.

    ``tls``: None where the connections have none, else what is wished of it, by redis-py's names; both for the server and the
    sentinels.
    """

    hosts: tuple[tuple[str, int], ...]
    database: int
    login: Login
    tls: dict[str, str] | None = None
    master: str | None = None
    sentinel_login: Login = Login()

    def __str__(self) -> str:
        """Say which server it is, without a password."""
        hosts = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return hosts if self.master is None else f"the master {self.master} of the sentinels {hosts}"


def check_redis_url(url: str) -> str:
    """Return the URL if all readers understand the same by it; raise ``ValueError``, which does not show the URL.

    Its scheme is returned in small letters: Celery knows no other.
    """
    read_redis_url(url)
    scheme, colon, rest = url.partition(":")
    return f"{scheme.lower()}{colon}{rest}"


def read_redis_url(url: str) -> RedisAddress:
    """Return what the URL says. Raises ``ValueError``, which does not show the URL."""
    expected = _SENTINEL if url.lower().startswith("sentinel") else _REDIS
    if not url.lower().startswith(_SCHEMES):
        expected = f"{_REDIS}, or {_SENTINEL}"
    try:
        return _read(url)
    except _Wrong as wrong:
        raise ValueError(f"expected {expected}{wrong}") from None


class _Wrong(Exception):
    """What is wrong with the URL, as the end of a sentence."""


def _read(url: str) -> RedisAddress:
    if (parts := _PARTS.fullmatch(url)) is None:
        raise _Wrong("; a password must be percent-encoded" if "@" in url else "")
    scheme, netloc, path, words = parts[1].lower(), parts[2], parts[3], parts[4] or ""
    try:
        login, hosts = _read_netloc(netloc, 26379 if scheme.startswith("sentinel") else 6379)
        query = dict(parse_qsl(words, keep_blank_values=True, strict_parsing=bool(words)))
    except ValueError:
        raise _Wrong("") from None
    if ";" in url and scheme.startswith("sentinel"):
        raise _Wrong(": hosts are separated by commas, and the scheme stands there once")
    if scheme not in _SCHEMES or not hosts or re.search(r"[\s;]", url):
        raise _Wrong("; a password must be percent-encoded" if "@" in url else "")
    if not scheme.startswith("sentinel"):
        if len(hosts) > 1:
            raise _Wrong(": one server; several stand in sentinel://HOST:PORT,HOST:PORT/MASTER/DB")
        if not _DATABASE.fullmatch(path):
            raise _Wrong(": the path is the number of a database")
        tls = _read_query(scheme, query)
        return RedisAddress(hosts, int(path.strip("/") or 0), login, tls)
    master = _MASTER.fullmatch(path)
    if master is None or master[1].isdigit():
        raise _Wrong(": the path is the master's name as the sentinels know it, and the number of a database")
    tls = _read_query(scheme, query)
    sentinel_login = Login(*(query.get(name) for name in _SENTINEL_QUERY))
    return RedisAddress(hosts, int(master[2].strip("/") or 0), login, tls, master[1], sentinel_login)


def _read_netloc(netloc: str, default_port: int) -> tuple[Login, tuple[tuple[str, int], ...]]:
    """Return the login and the hosts; no hosts where one of them is none. Raises ``ValueError``."""
    user, _, addresses = netloc.rpartition("@")
    username, _, password = user.partition(":")
    hosts = []
    for address in addresses.split(","):
        parts = urlsplit(f"//{address}")
        if not parts.hostname or parts.port == 0:
            return Login(), ()
        hosts.append((parts.hostname, default_port if parts.port is None else parts.port))
    return Login(unquote(username) or None, unquote(password) or None), tuple(hosts)


def _read_query(scheme: str, query: dict[str, str]) -> dict[str, str] | None:
    """Return what is wished of TLS, None without TLS."""
    known = _TLS_QUERY * (scheme in _WITH_TLS) + _SENTINEL_QUERY * scheme.startswith("sentinel")
    if query and not known:
        raise _Wrong(" without a query: worker68 sets timeouts and the like itself")
    if not query.keys() <= set(known) or "" in query.values():
        raise _Wrong(f": the query may hold {', '.join(known)} and nothing else")
    if scheme not in _WITH_TLS:
        return None
    wish = query.get("ssl_cert_reqs", "required")
    if wish not in (*_SHORT_WORDS, *_SHORT_WORDS.values()):
        raise _Wrong(f": ssl_cert_reqs is one of {', '.join(_SHORT_WORDS.values())}")
    wishes: dict[str, str] = {name: query[name] for name in _TLS_QUERY if name in query}
    return wishes | {"ssl_cert_reqs": _SHORT_WORDS.get(wish, wish)}


def make_tls_context(tls: dict[str, str]) -> ssl.SSLContext:
    """Return what a connection with these wishes is wrapped with, as redis-py would. Raises ``OSError`` for its files."""
    import ssl

    context = ssl.create_default_context(cafile=tls.get("ssl_ca_certs"))
    if tls["ssl_cert_reqs"] != "required":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE if tls["ssl_cert_reqs"] == "none" else ssl.CERT_OPTIONAL
    if "ssl_certfile" in tls:
        context.load_cert_chain(tls["ssl_certfile"], tls.get("ssl_keyfile"))
    return context


def celery_url(redis_url: str) -> str:
    """Return the URL as Celery and kombu understand it; the master's name and TLS of a ``sentinel`` stand in options beside it.

    A ``rediss://`` URL that wishes nothing gets ``ssl_cert_reqs=required``: kombu would go on without TLS or without
    checking the certificate, and Celery's result backend would refuse it.
    """
    address = read_redis_url(redis_url)
    if address.master is None:
        if address.tls is None:
            return redis_url
        return urlunsplit(urlsplit(redis_url)._replace(query=urlencode(address.tls)))
    user, password = (quote(word or "", safe="") for word in (address.login.username, address.login.password))
    login = f"{user}:{password}@" if user or password else ""
    hosts = ((f"[{host}]" if ":" in host else host, port) for host, port in address.hosts)
    return ";".join(f"sentinel://{login}{host}:{port}/{address.database}" for host, port in hosts)
