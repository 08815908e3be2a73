"""The address of the database: which URLs worker68 takes, checked as far as that goes without a connection."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from worker68.errors import SettingsError

#: A URL up to its hosts, as SQLAlchemy reads it: a password may hold all but "@", unlike for ``urlsplit``.
_LOGIN: Final = re.compile(r"[\w+]+://([^:/]*(:[^@]*)?@)?")

_EXPECTED = "expected sqlite:///FILE, postgresql+psycopg://USER:PASSWORD@HOST/NAME or ...@HOST:PORT,HOST:PORT/NAME"


def read_database_url(url: str) -> URL:
    """Return ``DATABASE_URL`` as SQLAlchemy reads it, with the driver that worker68 uses.

    Of several hosts each connection goes to one that takes writes: after a failover to the new primary.
    Raises ``SettingsError``, which does not show the URL: it may hold a password.
    """
    try:
        single, hosts = _take_hosts(url)
        parsed = make_url(single).update_query_dict(hosts)
    except (ArgumentError, ValueError):
        raise SettingsError(f"DATABASE_URL is no database URL; {_EXPECTED}") from None
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        _check_options(parsed)
        if _has_several_hosts(parsed) and "target_session_attrs" not in parsed.query:
            parsed = parsed.update_query_dict({"target_session_attrs": "read-write"})
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise SettingsError(f"DATABASE_URL is for {backend}; worker68 knows sqlite and postgresql+psycopg")
    if parsed.host or parsed.query or parsed.username or parsed.port:
        raise SettingsError(
            "DATABASE_URL is for SQLite, and names more than a file; expected sqlite:///FILE or sqlite:////ABSOLUTE/FILE"
        )
    if parsed.database in (None, "", ":memory:"):
        raise SettingsError("DATABASE_URL names a SQLite database in memory; give a file: sqlite:///worker68.db")
    return parsed.set(drivername="sqlite")


def _take_hosts(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its hosts where there are several, as libpq takes them, and these as its options.

    SQLAlchemy takes several with ports only there.
    """
    start = _LOGIN.match(url)
    if start is None or "," not in (hosts := re.split("[/?]", url[start.end() :], maxsplit=1)[0]):
        return url, {}
    addresses = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not all(address.hostname for address in addresses):
        raise ValueError("a comma without a host")
    options = {
        "host": ",".join(str(address.hostname) for address in addresses),
        "port": ",".join(str(address.port or 5432) for address in addresses),
    }
    return start[0] + url[start.end() + len(hosts) :], options


def _has_several_hosts(url: URL) -> bool:
    hosts = url.query.get("host", "")
    return not isinstance(hosts, str) or "," in hosts


def _check_options(url: URL) -> None:
    """Refuse a query that libpq does not know; a wrong value it says itself when it connects."""
    # Here, because a worker with SQLite needs neither.
    import psycopg
    from psycopg.conninfo import make_conninfo

    try:
        make_conninfo(**dict.fromkeys(url.query, ""))
    except psycopg.ProgrammingError:
        names = ", ".join(url.query)
        raise SettingsError(
            f"DATABASE_URL has a query ({names}) with what is no option of libpq; known are sslmode, sslrootcert and others"
        ) from None
