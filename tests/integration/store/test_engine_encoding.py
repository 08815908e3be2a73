"""Any text is kept, whatever the environment says; a database that cannot keep it is refused in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import make_url, text

from tests.parts.jobs import message, send_fields
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.postgres import PostgresServer
from worker68.cli.reach import explain_database
from worker68.errors import DatabaseUnfit
from worker68.store.engine import open_engine, reading
from worker68.store.migration import upgrade
from worker68.store.reports import open_ledger as open_reports

WORDS = "你好 🙂 ß"


@pytest.mark.parametrize("where", ["environment", "role", "URL"])
def test_any_text_is_kept(postgres_url: str, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    url = postgres_url
    if where == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif where == "URL":
        url += "&client_encoding=latin1"
    else:
        with open_ledger(url) as ledger, ledger.engine.connect() as connection:
            name = connection.scalar(text("SELECT current_database()"))
            connection.execute(text(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'"))
            connection.commit()
    with open_ledger(url) as ledger:
        (job,) = ledger.arrive(message(kwargs=send_fields(text=WORDS, metadata={"about": WORDS})))
        assert WORDS in ledger.row(job.seq).fields


@pytest.fixture
def latin(postgres_server: PostgresServer) -> Iterator[str]:
    postgres_server.ensure_running()
    with postgres_server.database(encoding="LATIN1") as url:
        yield url


def connect(url: str) -> None:
    engine = open_engine(url)
    try:
        with reading(engine):
            pass
    finally:
        engine.dispose()


def take_in(url: str) -> None:
    ledger = Ledger(url)
    try:
        ledger.send()
    finally:
        ledger.engine.dispose()


@pytest.mark.parametrize("use", [connect, upgrade, open_reports, take_in], ids=lambda use: use.__name__)
def test_a_database_that_cannot_keep_any_text_is_refused(latin: str, use: Callable[[str], object]) -> None:
    with pytest.raises(DatabaseUnfit, match="has the encoding LATIN1") as refused:
        use(latin)
    said = str(refused.value)
    assert "ENCODING 'UTF8'" in said, "what to do"
    assert "\n" not in said
    assert str(make_url(latin).database) in said, "which database"


def test_the_check_says_so_as_it_is(latin: str) -> None:
    with pytest.raises(DatabaseUnfit) as refused:
        open_reports(latin)
    found = explain_database(refused.value)
    assert "has the encoding LATIN1" in found
    assert "does not answer" not in found


def test_ascii_is_refused_as_well(postgres_server: PostgresServer) -> None:
    """It keeps any bytes, unread: others that read the tables would not know what they are."""
    postgres_server.ensure_running()
    with postgres_server.database(encoding="SQL_ASCII") as url, pytest.raises(DatabaseUnfit, match="SQL_ASCII"):
        connect(url)
