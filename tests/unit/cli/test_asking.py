"""What every command that asks for a job does: its options go into the job, and its end is a line or JSON, and an exit code."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Self

import pytest

from tests.unit.cli.conftest import Run, check_refused

SEND = ("send", "--group", "1", "x")
FIELDS = {"chat": {"type": "group", "id": 1}, "text": "x"}
SUCCEEDED: dict[str, Any] = {
    "status": "succeeded",
    "result": None,
    "error": None,
    "attempts": 1,
    "received_at": "2026-11-23T12:00:00Z",
    "finished_at": "2026-11-23T12:00:01Z",
}
EXPIRED = SUCCEEDED | {"status": "expired", "attempts": 0}


class Producer:
    """In place of Redis and a worker: notes what is put in; each job ends with ``reply``, and with None it does not end."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] | BaseException | None = SUCCEEDED
        self.put: list[tuple[str, dict[str, Any]]] = []
        self.waited: list[float] = []

    def __call__(self, settings: object) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put_in(self, task: str, fields: dict[str, Any]) -> SimpleNamespace:
        self.put.append((task, fields))
        return SimpleNamespace(id="task-1")

    def await_reply(self, _result: object, seconds: float) -> dict[str, Any] | None:
        self.waited.append(seconds)
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Producer:
    producer = Producer()
    monkeypatch.setattr("worker68.cli.producer.Producer", producer)
    return producer


def test_the_id_is_printed_where_the_end_is_not_waited_for(run: Run, producer: Producer) -> None:
    assert run(*SEND).stdout == "task-1\n"
    assert json.loads(run(*SEND, "--json").stdout) == {"task_id": "task-1"}
    assert producer.put == [("worker68.send_message", {"account": "main", **FIELDS})] * 2
    assert producer.waited == []


def test_the_options_of_every_job_go_into_it(run: Run, producer: Producer) -> None:
    run(*SEND, "--account", "shop", "--job-id", "order-1", "--reply-to", "stream:orders")
    common = {"account": "shop", "job_id": "order-1", "reply_to": "stream:orders"}
    assert producer.put == [("worker68.send_message", {**common, **FIELDS})]


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [(SUCCEEDED, 0, "succeeded (1 attempt, 1.0 s)\n"), (EXPIRED, 1, "expired (0 attempts, 1.0 s)\n")],
)
def test_the_exit_code_says_whether_it_succeeded(
    run: Run, producer: Producer, reply: dict[str, Any], code: int, words: str
) -> None:
    producer.reply = reply
    done = run(*SEND, "--wait", "--timeout", "7")
    assert (done.exit_code, done.stdout, done.stderr) == (code, words, "")
    done = run(*SEND, "--wait", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (code, reply)
    assert producer.waited == [7, 60], "by default what the task usually takes"


def test_a_job_that_has_not_ended_in_time_goes_on(run: Run, producer: Producer) -> None:
    producer.reply = None
    done = run(*SEND, "--wait", "--timeout", "0.5")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "worker68: not ended within 0.5 s; the job goes on, look with `worker68 jobs show task-1`\n"


def test_ctrl_c_ends_the_wait_and_not_the_job(run: Run, producer: Producer) -> None:
    producer.reply = KeyboardInterrupt()
    done = run(*SEND, "--wait")
    assert (done.exit_code, done.stdout) == (130, "")
    assert "not waiting any longer; the job goes on, look with `worker68 jobs show task-1`" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--account", "Main"), "account: "),
        (("--job-id", ""), "job_id: "),
        (("--reply-to", "a b"), "reply_to: "),
        (("--wait", "--timeout", "0"), "--timeout"),
    ],
)
def test_wrong_options_are_refused(run: Run, producer: Producer, words: tuple[str, ...], told: str) -> None:
    check_refused(run(*SEND, *words), told)
    assert producer.put == []


def test_every_wrong_field_is_named_at_once(run: Run, producer: Producer) -> None:
    done = run("send", "--group", "1", "", "--account", "A", "--reply-to", "/")
    assert all(f"{field}: " in done.stderr for field in ("text", "account", "reply_to"))
    assert producer.put == []
