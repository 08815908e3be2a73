"""``worker68 probe`` against simulators that answer each of its questions one way or the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import redis
from rich.text import Text

from tests.integration.simulator.peer import connected
from tests.parts.worker import PATIENCE_SECONDS
from tests.unit.cli.conftest import Run, run
from worker68.cli import output
from worker68.cli.probe import command, questions, wire
from worker68.cli.probe.command import Answer
from worker68.cli.probe.questions import QUESTIONS
from worker68.cli.probe.wire import Wire
from worker68.clock import Deadline
from worker68.simulator import ALWAYS, Simulator
from worker68.simulator.population import MANAGED_GROUP
from worker68.simulator.replay import load_record

__all__ = ["run"]

#: How long a test waits for what never comes.
SILENCE_SECONDS = 0.3


class Other(NamedTuple):
    """A bridge, what a probe finds at it, and what it leaves unanswered: see ``wait_less_for``."""

    answers: dict[str, str | None]
    prepare: Callable[[Simulator], None] = lambda bridge: None
    kind: Literal["new", "old"] = "new"
    silent: tuple[str, ...] = ("echo",)


#: What no bridge has a message for.
UNKNOWN = ("worker68Probe", "Worker68Probe")


def contrary(bridge: Simulator) -> None:
    faults = bridge.faults
    faults.no_pong = faults.unknown_type_error = faults.replies_to_all = faults.only_eleven_digits = True
    faults.no_reply_to_sends = True
    faults.paging.first_page, faults.spelling.left_out_mutes = "0", True
    faults.client.pending_echo, faults.client.batch_seconds = True, 0.05


def old(bridge: Simulator) -> None:
    faults = bridge.faults
    faults.unknown_type_error = True
    faults.paging.first_page, faults.second_client = "both", "refused"
    faults.client.batch_seconds, faults.client.batch_form = 0.05, "array"


def without_a_chat_of_its_own(bridge: Simulator) -> None:
    bridge.world.has_own_chat = False
    bridge.faults.second_client = "replaces"
    bridge.faults.silence.set("GroupReqList", ALWAYS)
    bridge.faults.silence.set("ContactsDetail", ALWAYS)


def broken(bridge: Simulator) -> None:
    bridge.faults.service_errors.set(ALWAYS)


def without_verdicts(bridge: Simulator) -> None:
    bridge.faults.unknown_type_error = True
    bridge.faults.verdict = "swallowed"


OTHERS = {
    "as the examples show": Other(
        {
            "pings": "yes",
            "unknown type": "silence",
            "unknown request": "silence",
            "pages": "from 1",
            "mute times": "there",
            "reply to a send": "reply",
            "eleven digits": "given back",
            "twelve digits": "given back",
            "pending echo": "no",
            "arrays": "no",
            "second client": "asker",
        },
        silent=("echo", *UNKNOWN),
    ),
    "the contrary": Other(
        {
            "pings": "no",
            "unknown type": "error",
            "unknown request": "error",
            "pages": "from 0",
            "mute times": "left out",
            "reply to a send": "silence",
            "eleven digits": "given back",
            "twelve digits": "another",
            "pending echo": "yes",
            "arrays": "operator",
            "second client": "all",
        },
        contrary,
        silent=("ping", "sendMsg"),
    ),
    "an old build": Other(
        {
            "pages": "both",
            "eleven digits": "another",
            "twelve digits": "another",
            "arrays": "array",
            "second client": "refused",
        },
        old,
        "old",
    ),
    "without a chat of its own": Other(
        {
            "pages": "silence",
            "mute times": "error",
            "reply to a send": "error",
            "eleven digits": "refused",
            "twelve digits": "refused",
            "pending echo": "refused",
            "second client": "first lost",
        },
        without_a_chat_of_its_own,
        silent=("echo", *UNKNOWN, "GroupReqList", "ContactsDetail"),
    ),
    "a broken service": Other(
        {"pages": "neither", "mute times": "no members", "reply to a send": None},
        broken,
        silent=("echo", *UNKNOWN),
    ),
    "without verdicts": Other(
        {"eleven digits": "no verdict", "twelve digits": "no verdict"},
        without_verdicts,
        silent=("echo", "verdict"),
    ),
}

#: Answers that no simulator gives.
UNPLAYED = {
    ("unknown type", "reply"),
    ("unknown request", "reply"),
    ("arrays", "both"),
    ("second client", "second lost"),
}


def test_every_answer_is_given_by_one_of_these_bridges() -> None:
    given = {(name, key) for other in OTHERS.values() for name, key in other.answers.items()}
    possible = {(question.name, key) for question in QUESTIONS for key in question.meanings}
    assert possible - given == UNPLAYED


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes may come late. The echo of another client's reply is the one thing that most bridges never send."""
    monkeypatch.setattr(command, "PROBE_SECONDS", 600.0)
    for name in ("CONNECT_SECONDS", "HELLO_SECONDS"):
        monkeypatch.setattr(command, name, PATIENCE_SECONDS)
    for module in (command, questions, wire):
        monkeypatch.setattr(module, "REPLY_SECONDS", PATIENCE_SECONDS)
    for name in ("VERDICT_SECONDS", "SECOND_VERDICT_SECONDS"):
        monkeypatch.setattr(questions, name, PATIENCE_SECONDS)
    monkeypatch.setattr(questions, "ECHO_SECONDS", SILENCE_SECONDS)


def wait_less_for(monkeypatch: pytest.MonkeyPatch, *silent: str) -> None:
    """End early each wait for what never comes: the reply to these types of frames or requests; ping, login, verdict, echo."""

    def cut(deadline: Deadline, what: str) -> Deadline:
        return Deadline.after(min(SILENCE_SECONDS, deadline.remaining())) if what in silent else deadline

    class Hurried(Wire):
        async def ask(
            self, frame_type: str, data: Any = None, *, deadline: Deadline, **top: Any
        ) -> dict[str, Any] | None:
            what = data["type"] if frame_type == "request" else frame_type
            return await super().ask(frame_type, data, deadline=cut(deadline, what), **top)

        async def ping(self, deadline: Deadline) -> bool:
            return await super().ping(cut(deadline, "ping"))

        async def wait_for(self, is_it: Callable[[dict[str, Any]], bool], deadline: Deadline) -> dict[str, Any] | None:
            what = "login" if is_it is command._is_login else ""
            return await super().wait_for(is_it, cut(deadline, what))

    monkeypatch.setattr(wire, "Wire", Hurried)
    monkeypatch.setattr(questions, "ECHO_SECONDS", SILENCE_SECONDS if "echo" in silent else PATIENCE_SECONDS)
    if "verdict" in silent:
        for name in ("VERDICT_SECONDS", "SECOND_VERDICT_SECONDS"):
            monkeypatch.setattr(questions, name, SILENCE_SECONDS)


def ask(run: Run, bridge: Simulator, *options: str) -> dict[str, dict[str, Any]]:
    done = run("probe", bridge.url, "--json", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    return {one["name"]: one for one in json.loads(done.stdout)}


@pytest.mark.parametrize("name", OTHERS)
def test_answers(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    other = OTHERS[name]
    wait_less_for(monkeypatch, *other.silent)
    with Simulator(kind=other.kind, heartbeat_seconds=0.1, verdict_delay_seconds=0.01) as bridge:
        other.prepare(bridge)
        found = ask(run, bridge, "--group", str(MANAGED_GROUP), "--send-to-self")
    assert {question: found[question]["answer"] for question in other.answers} == other.answers
    for question in QUESTIONS:
        answer = found[question.name]
        if answer["answer"] is not None:
            meaning = question.meanings[answer["answer"]]
            assert (answer["words"], answer["settles"], answer["settings"]) == tuple(meaning)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    found = [Answer(one, key, *meaning) for one in QUESTIONS for key, meaning in one.meanings.items()]

    async def answers(*_: object) -> list[Answer]:
        return found

    monkeypatch.setattr(output, "WIDTH_WITHOUT_TERMINAL", width)
    monkeypatch.setattr(command, "ask_all", answers)
    lines = run("probe", "ws://127.0.0.1:1").stdout.splitlines()
    assert len(lines) > len(found)
    assert [line for line in lines if Text(line).cell_len > width] == []


class TestHarm:
    def test_without_leave_nothing_is_sent_and_no_group_is_read(self, run: Run) -> None:
        with Simulator(heartbeat_seconds=0.1) as bridge:
            bridge.faults.unknown_type_error = True
            found = ask(run, bridge)
            asked = [one.frame for one in bridge.received]
            assert len(bridge.sent) == 0
        assert {frame["type"] for frame in asked} == {"getApiUrl", "request", "worker68Probe"}
        calls = {frame["data"]["type"] for frame in asked if frame["type"] == "request"}
        assert calls == {"UserInfo", "GroupReqList", "Worker68Probe"}
        assert found["mute times"]["words"] == "not asked: needs --group"
        assert found["reply to a send"]["words"] == "not asked: needs --send-to-self"

    def test_what_is_sent_goes_to_the_account_itself(self, run: Run) -> None:
        with Simulator(heartbeat_seconds=0.1, verdict_delay_seconds=0.01) as bridge:
            bridge.faults.unknown_type_error = True
            ask(run, bridge, "--send-to-self", "--group", str(MANAGED_GROUP))
            sent = [(one.chat_type, one.chat_id, len(one.custom_msg_id)) for one in bridge.sent]
            own = bridge.world.account
        assert sent == [("friend", own, 11), ("friend", own, 12)]

    def test_a_bridge_whose_account_a_worker_owns_is_left_alone(
        self, run: Run, redis_url: str, sqlite_url: str
    ) -> None:
        with redis.Redis.from_url(redis_url) as client, Simulator() as bridge:
            client.set("worker68:lease:account:main", "host-1|1")
            done = run("probe", bridge.url, REDIS_URL=redis_url, BRIDGE_URL=bridge.url, DATABASE_URL=sqlite_url)
            client.delete("worker68:lease:account:main")
            assert len(bridge.received) == 0
        assert done.exit_code == 1
        assert f"worker host-1 holds the one connection to {bridge.url} (account main): stop it first" in done.stderr


class TestWhatCannotBeAsked:
    @pytest.mark.parametrize("url", ["127.0.0.1:5600", "http://127.0.0.1:5600", "ws://"])
    def test_what_is_no_url(self, run: Run, url: str) -> None:
        done = run("probe", url)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert "it should look like ws://127.0.0.1:5600" in done.stderr

    def test_nothing_there(self, run: Run) -> None:
        done = run("probe", "ws://127.0.0.1:1")
        assert done.exit_code == 1
        assert "the bridge at ws://127.0.0.1:1 cannot be reached: connection refused" in done.stderr

    @pytest.mark.parametrize(
        ("fault", "words"),
        [("no_hello", "no Hello within"), ("no_heartbeat", "no sign within"), ("refusals", "API's address")],
    )
    def test_a_bridge_that_is_not_ready(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
    ) -> None:
        if fault == "no_hello":
            monkeypatch.setattr(command, "HELLO_SECONDS", SILENCE_SECONDS)
        if fault == "no_heartbeat":
            wait_less_for(monkeypatch, "login")
        with Simulator(heartbeat_seconds=0.1) as bridge:
            if fault == "refusals":
                bridge.faults.refusals.set(ALWAYS)
            else:
                setattr(bridge.faults, fault, True)
            done = run("probe", bridge.url)
        assert done.exit_code == 1
        assert words in done.stderr

    def test_without_its_own_uid_nothing_is_sent(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        wait_less_for(monkeypatch, "echo", "UserInfo")
        with Simulator(heartbeat_seconds=0.1) as bridge:
            bridge.faults.unknown_type_error = True
            bridge.faults.silence.set("UserInfo", 1)
            found = ask(run, bridge, "--send-to-self")
            assert len(bridge.sent) == 0
        assert found["reply to a send"]["words"] == "not asked: the account's own uid is not known"

    def test_a_connection_that_is_lost_costs_the_questions_that_follow(self, run: Run) -> None:
        with Simulator(heartbeat_seconds=0.1) as bridge:
            bridge.faults.unknown_type_error = True
            bridge.faults.drop_after_answer.set(6)
            found = ask(run, bridge, "--send-to-self")
        assert "the connection was lost" in found["second client"]["words"]

    def test_a_file_that_is_there_is_not_overwritten(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "probe.jsonl").write_text("mine")
        done = run("probe", "ws://127.0.0.1:1", "--record", str(tmp_path / "probe.jsonl"))
        assert (done.exit_code, (tmp_path / "probe.jsonl").read_text()) == (1, "mine")


def test_a_table_for_people(run: Run) -> None:
    with Simulator(heartbeat_seconds=0.1) as bridge:
        bridge.faults.unknown_type_error = True
        shown = run("probe", bridge.url).stdout
    assert all(question.asks in shown for question in QUESTIONS)
    assert "[open] whether pings are answered: they are" in shown


class TestRecord:
    def record(self, run: Run, path: Path, *options: str) -> None:
        with Simulator(heartbeat_seconds=0.1, verdict_delay_seconds=0.01) as bridge:
            bridge.faults.unknown_type_error = True
            bridge.faults.client.pending_echo = True
            bridge.faults.refusal = {"errorCode": 300, "errorDesc": "#A0030"}
            bridge.world.api_url = "https://secret.example"
            ask(run, bridge, "--send-to-self", "--group", str(MANAGED_GROUP), "--record", str(path), *options)

    def test_names_texts_and_addresses_are_blanked(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "probe.jsonl"
        self.record(run, path)
        text = path.read_text(encoding="utf-8")
        assert "secret.example" not in text
        assert wire.TEXT not in text
        assert "4008697" in text, "ids stay"
        assert {line["way"] for line in map(json.loads, text.splitlines())} == {"in", "out"}

    def test_or_not(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "probe.jsonl"
        self.record(run, path, "--no-blank")
        text = path.read_text(encoding="utf-8")
        assert "secret.example" in text
        assert wire.TEXT in text

    def test_a_simulator_plays_it_again(self, run: Run, tmp_path: Path) -> None:
        """To a probe it answers as the bridge did, whatever it would answer by itself."""
        path = tmp_path / "probe.jsonl"
        self.record(run, path)
        bridge = Simulator(heartbeat_seconds=0.1, verdict_delay_seconds=600)
        bridge.replay(load_record(path))
        with bridge:
            found = ask(run, bridge, "--send-to-self", "--group", str(MANAGED_GROUP))
            assert len(bridge.sent) == 0
        expected = {
            "unknown type": "error",
            "unknown request": "error",
            "reply to a send": "reply",
            "eleven digits": "given back",
            "twelve digits": "given back",
            "pending echo": "yes",
        }
        assert {name: found[name]["answer"] for name in expected} == expected

    def test_a_worker_can_send_to_it(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "probe.jsonl"
        self.record(run, path)
        bridge = Simulator(heartbeat_seconds=60, verdict_delay_seconds=600)
        bridge.replay(load_record(path))
        with bridge, connected(bridge) as peer:
            peer.send("hello", custom_msg_id="33333333333")
            verdict = peer.verdict()
            assert "data" in peer.ask("getGroups"), "what is not in the record is answered as ever"
        assert (verdict["customMsgId"], verdict["updated"]["readStatus"]) == ("33333333333", 1)
