"""The demo's exit code says whether all came out as it should; what did not is named; a signal ends it at its next look."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock

import pytest

from worker68.cli.demo import play
from worker68.cli.demo.jobs import DemoJob
from worker68.cli.demo.play import Interruption
from worker68.cli.demo.producer import Ending
from worker68.clock import Deadline
from worker68.jobs.outcome import Status
from worker68.protocol.messages import wire_text
from worker68.simulator import Simulator
from worker68.simulator.records import Received


class Cast:
    """In place of the stage and the producer: every job ends as it should, unless a test says otherwise, by the job's label."""

    def __init__(self) -> None:
        self.bridge = Simulator()  # it is not started: it only holds what it was asked for
        self.redis = SimpleNamespace(url="redis://127.0.0.1:1/0")
        self.worker_exit_code = 0
        self.replies: dict[str, dict[str, Any]] = {}
        self.unanswered: set[str] = set()
        self.written: dict[str, int] = {}
        self.before_each: Callable[[], object] = bool
        self.under_way: list[DemoJob] = []
        #: What the bridge says about messages when each job is sent.
        self.verdicts: dict[str, str] = {}
        self.settings: list[str] = []
        self.closed = 0
        self._asked: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1

    # As the stage

    def set_up(self, announce: Callable[[str], None], check: Callable[[], None]) -> Self:
        self.settings = [name for name in os.environ if name.startswith("WORKER68_")]
        announce("all parts are there")
        return self

    def wait_until_ready(self, hears: Callable[[], bool]) -> None:
        assert hears()

    def check_worker(self) -> None:
        pass

    # As the producer

    def worker_hears(self) -> bool:
        return True

    def send(self, jobs: Iterable[DemoJob]) -> None:
        for job in jobs:
            self.under_way.append(job)
            self.verdicts[job.label] = self.bridge.faults.verdict

    def await_endings(self, deadline: Deadline, look: Callable[[], None]) -> Iterator[Ending]:
        assert not deadline.passed
        for job in [job for job in self.under_way if job.label not in self.unanswered]:
            self.before_each()
            look()
            self.under_way.remove(job)
            if job.message is not None and job.status is Status.SUCCEEDED:
                self._write(job, job.message)
            usual = {"status": job.status, "error": {"code": job.error, "message": "x"} if job.error else None}
            yield Ending(job, usual | {"result": None, "attempts": 1} | self.replies.get(job.label, {}), 0.1)

    def _write(self, job: DemoJob, message: str) -> None:
        text = wire_text(message, "escaped")
        times = self.written.get(job.label, 0 if text in self._asked else 1)
        self._asked.add(text)
        file = {"type": "sendFile", "data": {"file": text}}
        words = {"type": "sendMsg", "data": {"list": [{"values": {"content": text}}]}}
        frame = file if job.task == "worker68.send_file" else words
        for _ in range(times):
            self.bridge.received.append(Received(0.0, 1, frame))


@pytest.fixture
def players(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cast]:
    players = Cast()
    monkeypatch.setattr(play, "Stage", players.set_up)
    monkeypatch.setattr(play, "DemoProducer", lambda _: players)
    with mock.patch.dict(os.environ, {"WORKER68_LIMITS": "nonsense"}):
        yield players


@pytest.fixture(autouse=True)
def signals_of_its_own() -> Iterator[None]:
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    yield
    for one, handler in handlers.items():
        signal.signal(one, handler)


def test_all_as_it_should_be(players: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    assert play.play(3) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "none twice" in said.out
    assert f"{len(players.verdicts)} jobs in " in said.out, "each is counted"
    assert players.settings == [], "none of this machine's is read"
    assert players.closed == 2, "the producer and the stage"


def test_the_bridge_falls_silent_for_the_last_jobs_only(players: Cast) -> None:
    play.play(0)
    silent = [label for label, verdict in players.verdicts.items() if verdict == "swallowed"]
    assert silent == ["to an unknown group", "the bridge falls silent"]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"unanswered": {"to a muted group"}}, "no reply in time: to a muted group"),
        (
            {"replies": {"to a muted group": {"status": "succeeded", "error": None}}},
            "to a muted group: expected failed/not_sent, and it ended succeeded with None",
        ),
        (
            {"replies": {"mute group": {"status": "expired"}}},
            "mute group: expected succeeded, and it ended expired with None",
        ),
        ({"written": {"send_message to group 389284": 2}}, "written 2 times: 'message 1 of the demo'"),
        ({"written": {"send_at in 2 s": 0}}, "never written: send_at in 2 s"),
        ({"written": {"send file": 0}}, "never written: send file"),
        ({"worker_exit_code": -9}, "the worker's exit code was -9, not 0"),
    ],
)
def test_what_did_not_come_out_as_it_should_is_named(
    players: Cast, capsys: pytest.CaptureFixture[str], fault: dict[str, Any], problem: str
) -> None:
    vars(players).update(fault)
    assert play.play(1) == 1
    assert f"worker68: demo: {problem}" in capsys.readouterr().err.splitlines()


def test_a_signal_ends_all_parts_at_the_next_look(players: Cast) -> None:
    players.before_each = lambda: signal.raise_signal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        play.play(1)
    assert end.value.code == 128 + signal.SIGTERM
    assert players.closed == 2


def test_the_first_signal_counts() -> None:
    interruption = Interruption()
    interruption.check()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(one)
    with pytest.raises(SystemExit) as end:
        interruption.check()
    assert end.value.code == 128 + signal.SIGINT
