"""DATABASE_URL: what is taken, and the one line that refuses the rest and does not show it."""

from __future__ import annotations

import pytest

from worker68.errors import SettingsError
from worker68.store.url import read_database_url


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///worker68.db", "sqlite"),
        ("sqlite+aiosqlite:////data/worker68.db", "sqlite"),
        ("postgresql+psycopg://u:p%40ss@h:5433/d", "postgresql+psycopg"),
        ("postgresql://h/d?sslmode=verify-full&sslrootcert=%2Fca.pem&options=-c%20x%3D1", "postgresql+psycopg"),
        ("postgres://h/d?target_session_attrs=read-write", "postgresql+psycopg"),
        ("postgresql+asyncpg:///d?host=/run/postgresql&host=other", "postgresql+psycopg"),
        ("postgresql://u:p@h:5433,i/d", "postgresql+psycopg"),
    ],
)
def test_what_is_taken(url: str, driver: str) -> None:
    assert read_database_url(url).drivername == driver


@pytest.mark.parametrize("password", ["p[x", "p]x", "a,b", "a,b/c", "p/x", "p?x", "p#x", "\N{ACCOUNT OF}"])
@pytest.mark.parametrize("hosts", ["h", "h,i:1"])
def test_a_password_is_what_stands_before_the_at_sign(password: str, hosts: str) -> None:
    parsed = read_database_url(f"postgresql://u:{password}@{hosts}/d")
    assert (parsed.password, parsed.database) == (password, "d")
    assert (parsed.host or parsed.query["host"]) == ("h" if hosts == "h" else "h,i")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("worker68.db", "is no database URL"),
        ("", "is no database URL"),
        ("postgresql://u:secret@h:port/d", "is no database URL"),
        ("postgresql://u:secret@[::1/d", "is no database URL"),
        ("postgresql://u:secret@h:5432,/d", "is no database URL"),
        ("postgresql://u:secret@h:5432,i:port/d", "is no database URL"),
        ("postgresql://u:secret@h/d?timeout=5", "has a query (timeout) with what is no option of libpq"),
        ("postgresql://u:secret@h/d?sslmode=require&ssl_mode=x", "has a query (sslmode, ssl_mode)"),
        ("mysql://u:secret@h/d", "is for mysql; worker68 knows sqlite and postgresql+psycopg"),
        ("sqlite://", "names a SQLite database in memory"),
        ("sqlite:///:memory:", "names a SQLite database in memory"),
        ("sqlite:///x.db?timeout=5", "names more than a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "names more than a file"),
        ("sqlite://worker68.db", "names more than a file"),
    ],
)
def test_what_is_refused(url: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_database_url(url)
    line = str(refused.value)
    assert line.startswith("DATABASE_URL ")
    assert words in line
    assert "\n" not in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("url", "hosts", "ports", "wanted"),
    [
        ("postgresql://u:p@h:5433,i,[::1]:1/d", "h,i,::1", "5433,5432,1", "read-write"),
        ("postgresql://h,i/d?sslmode=require", "h,i", "5432,5432", "read-write"),
        ("postgresql:///d?host=h:5433&host=i:5434", "h,i", "5433,5434", "read-write"),
        ("postgresql:///d?host=h,i&port=1,2", "h,i", "1,2", "read-write"),
        ("postgresql://h,i/d?target_session_attrs=primary", "h,i", "5432,5432", "primary"),
        ("postgresql://h:5433/d", "h", 5433, None),
    ],
)
def test_of_several_hosts_the_one_that_takes_writes_is_used(
    url: str, hosts: str, ports: str | int, wanted: str | None
) -> None:
    parsed = read_database_url(url)
    _, options = parsed.get_dialect()().create_connect_args(parsed)
    found = (options["host"], options["port"], options.get("target_session_attrs"))
    assert found == (hosts, ports, wanted)
    assert options["dbname"] == "d"
