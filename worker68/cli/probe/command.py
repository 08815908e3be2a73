"""``worker68 probe``: asks a real bridge what the protocol leaves open, in a minute, and says what follows.

In: a bridge's URL. Out: answers, the statements of PROTOCOL.md that they settle, the settings that follow; with ``--record`` a file
of all frames. Never: a change of anything; a message to anyone but the account itself, and that only where it is asked for; a
connection beside a worker's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from worker68.bridge.url import address_of
from worker68.cli.ledger import open_database
from worker68.cli.output import JSON, print_json, print_table
from worker68.cli.probe.questions import AT_ONCE, QUESTIONS, Question
from worker68.cli.probe.record import Record
from worker68.cli.probe.wire import REPLY_SECONDS, ProbeFailed, Session, Wire, connect, field_in, field_of
from worker68.cli.reach import find_owners
from worker68.clock import Deadline
from worker68.errors import DatabaseAway, RedisAway
from worker68.fleet.accounts import known_from_settings, read_known
from worker68.protocol.api import USER_INFO
from worker68.protocol.messages import request_data
from worker68.protocol.values import read_id
from worker68.settings import load_settings

#: Everything ends within this.
PROBE_SECONDS: Final = 55.0
CONNECT_SECONDS: Final = 8.0
#: Hello comes at once, and a heartbeat every 3 s.
HELLO_SECONDS: Final = 7.0


@dataclass(frozen=True)
class Answer:
    """What came of one question; ``key`` None: it was not asked, for the reason in ``words``."""

    question: Question
    key: str | None
    words: str
    settles: str = ""
    settings: str = ""

    @property
    def follows(self) -> str | None:
        """What it settles and which settings follow, in one line."""
        return "; settings: ".join(filter(None, (self.settles, self.settings))) or None

    def as_dict(self) -> dict[str, Any]:
        question = {"name": self.question.name, "asks": self.question.asks}
        return question | {"answer": self.key, "words": self.words, "settles": self.settles, "settings": self.settings}


@click.command()
@click.argument("url")
@click.option("--group", type=click.IntRange(1), metavar="ID", help="A group to test with: its members are read.")
@click.option("--send-to-self", is_flag=True, help="Send the account two short messages of its own.")
@click.option(
    "--record",
    "record_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every frame to this new file; `worker68 simulator --replay` plays it again.",
)
@click.option(
    "--blank/--no-blank", default=True, show_default=True, help="Blank names, texts and addresses in the file."
)
@JSON
def probe(url: str, group: int | None, send_to_self: bool, record_path: Path | None, blank: bool, as_json: bool) -> int:
    """Ask the bridge at URL what its protocol leaves open: harmless questions, within a minute.

    Stop the account's worker first: a bridge may lose frames of one of two clients. Nothing is changed, and nothing is sent
    unless --send-to-self is given. Exit code 1 if the bridge could not be asked.

    \b
    Example:
      worker68 probe ws://127.0.0.1:5600 --send-to-self --record probe.jsonl
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise click.UsageError(f"{url!r} is no bridge URL: it should look like ws://127.0.0.1:5600")
    check_alone(url)
    record = Record(record_path, blanked=blank) if record_path else None
    try:
        answers = asyncio.run(ask_all(url, group, send_to_self, record))
    finally:
        if record is not None:
            record.close()
    if as_json:
        print_json([answer.as_dict() for answer in answers])
    else:
        print_table(
            ("question", "answer", "what it settles"), ((one.question.asks, one.words, one.follows) for one in answers)
        )
    return 0


def check_alone(url: str) -> None:
    """Raise ``ProbeFailed`` if a worker holds this bridge's one connection, as far as settings and database say."""
    settings = load_settings()
    known = known_from_settings(settings)
    try:
        with open_database(settings) as engine:
            known = read_known(settings, engine)
    except DatabaseAway:
        pass
    accounts = [name for name, one in known.accounts.items() if address_of(one.bridge_url) == address_of(url)]
    if settings.redis_url is None or not accounts:
        return
    try:
        owners = find_owners(settings.redis_url, accounts)
    except RedisAway:
        return
    for account, worker in owners.items():
        raise ProbeFailed(f"worker {worker} holds the one connection to {url} (account {account}): stop it first")


async def ask_all(url: str, group: int | None, may_send: bool, record: Record | None) -> list[Answer]:
    """Connect and ask every question that may be asked. Raise ``ProbeFailed`` where the bridge cannot be used."""

    def tap(connection: int, way: str, frame: Any) -> None:
        if record is not None:
            record.note(connection, way, frame)

    deadline = Deadline.after(PROBE_SECONDS)
    wire = await connect(url, 1, tap, CONNECT_SECONDS)
    try:
        base, own_uid = await introduce(wire, url)
        session = Session(wire, base, own_uid, group, deadline)
        by_name = {question.name: question for question in QUESTIONS}
        found = dict(
            zip(
                AT_ONCE,
                await asyncio.gather(*(_ask(by_name[name], session, may_send) for name in AT_ONCE)),
                strict=True,
            )
        )
        for question in QUESTIONS:
            if question.name not in found:
                found[question.name] = await _ask(question, session, may_send)
        return [found[question.name] for question in QUESTIONS]
    finally:
        wire.close()


async def introduce(wire: Wire, url: str) -> tuple[str, int | None]:
    """Wait for Hello and for the client's login; return the API's base and the account's uid. Raise ``ProbeFailed``."""

    async def first(what: Awaitable[dict[str, Any] | None], problem: str) -> dict[str, Any]:
        frame = await what
        if frame is None:
            raise ProbeFailed(f"the bridge at {url} cannot be asked: {wire.lost or problem}")
        return frame

    hello = wire.wait_for(lambda frame: frame.get("message") == "Hello", Deadline.after(HELLO_SECONDS))
    await first(hello, f"no Hello within {HELLO_SECONDS:g} s")
    login = wire.wait_for(_is_login, Deadline.after(HELLO_SECONDS))
    await first(login, f"no sign within {HELLO_SECONDS:g} s that the client is logged in to its server")
    reply = await first(
        wire.ask("getApiUrl", deadline=Deadline.after(REPLY_SECONDS)), "it does not say the API's address"
    )
    base = reply.get("data")
    if not isinstance(base, str):
        raise ProbeFailed(f"the bridge at {url} cannot be asked: it does not say the API's address")
    base = base.rstrip("/")
    call = request_data(USER_INFO.type, base + USER_INFO.path)
    profile = await wire.ask("request", call, deadline=Deadline.after(REPLY_SECONDS))
    return base, read_id(field_of(field_in(profile or {}, "userInfo"), "uid"))


def _is_login(frame: dict[str, Any]) -> bool:
    data = frame.get("data")
    return (
        frame.get("operator") == "network" and isinstance(data, dict) and data.get("networkStatusType") == "socketLogin"
    )


async def _ask(question: Question, session: Session, may_send: bool) -> Answer:
    reason = _why_not(question, session, may_send)
    if reason is not None:
        return Answer(question, None, f"not asked: {reason}")
    key = await question.answer(session)
    if session.wire.lost is not None and question.name != "second client":
        return Answer(question, None, f"not answered: the connection was lost ({session.wire.lost})")
    meaning = question.meanings[key]
    return Answer(question, key, meaning.words, meaning.settles, meaning.settings)


def _why_not(question: Question, session: Session, may_send: bool) -> str | None:
    if session.wire.lost is not None:
        return f"the connection was lost ({session.wire.lost})"
    if session.deadline.passed:
        return "the minute is over"
    if question.needs == "group" and session.group is None:
        return "needs --group"
    if question.needs == "send" and not may_send:
        return "needs --send-to-self"
    if question.needs == "send" and session.own_uid is None:
        return "the account's own uid is not known"
    return None
