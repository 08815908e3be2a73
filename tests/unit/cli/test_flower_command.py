"""``worker68 flower`` does not start without a password, and closes Flower's metrics wherever Flower has them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from flower import app, urls
from flower.api import control
from flower.views import monitor

from tests.unit.cli.conftest import Run
from worker68.cli import flower

REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the command lines with which Flower would have been started; its handlers stay as they are."""
    calls: list[list[str]] = []
    for name in ("BASIC_AUTH", "AUTH", "UNAUTHENTICATED_API", "READ_ONLY"):
        monkeypatch.delenv(f"FLOWER_{name}", raising=False)
    monkeypatch.setenv("FLOWER_READ_ONLY", "true")
    monkeypatch.setattr("celery.bin.celery.celery.main", lambda args, **_: calls.append(args))
    monkeypatch.setattr(urls, "handlers", list(urls.handlers))
    monkeypatch.setattr(app, "Inspector", app.Inspector)
    monkeypatch.setattr("sys.argv", ["worker68"])
    return calls


@pytest.mark.parametrize("given", ["", "admin", ":secret", "admin:", "admin:secret,other", "admin:secret,"])
def test_without_a_password_it_does_not_start(
    run: Run, started: list[list[str]], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", given)
    result = run("flower", REDIS_URL=REDIS)
    assert result.exit_code == 2
    assert "FLOWER_BASIC_AUTH" in result.stderr
    assert started == []


@pytest.mark.parametrize("given", ["admin:pé", "admin:密码", "a:b,c:d\u00a0"])
@pytest.mark.parametrize("option", [True, False])
def test_a_password_that_flower_cannot_compare_is_refused(
    run: Run, started: list[list[str]], monkeypatch: pytest.MonkeyPatch, given: str, option: bool
) -> None:
    if not option:
        monkeypatch.setenv("FLOWER_BASIC_AUTH", given)
    result = run("flower", *([f"--basic-auth={given}"] if option else []), REDIS_URL=REDIS)
    assert result.exit_code == 2
    assert "ASCII" in result.stderr
    assert started == []


def test_an_empty_variable_of_flower_counts_as_not_set(
    run: Run, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FLOWER_PORT", "FLOWER_READ_ONLY", "FLOWER_AUTH"):
        monkeypatch.setenv(name, "")
    assert run("flower", "--basic-auth=admin:secret", REDIS_URL=REDIS).exit_code == 0
    assert "FLOWER_PORT" not in os.environ
    assert os.environ["FLOWER_READ_ONLY"] == "true"


@pytest.mark.parametrize("option", ["--basic_auth=admin:secret", "--basic-auth=a:b,c:d", "--auth=.*@example.com"])
def test_who_may_look_may_also_be_an_option(run: Run, started: list[list[str]], option: str) -> None:
    assert run("flower", option, "--port=0", REDIS_URL=REDIS).exit_code == 0
    assert started == [["-A", "worker68", "flower", option, "--port=0"]]


@pytest.mark.parametrize(
    ("words", "handed_on"),
    [
        (["--port", "5555"], ["--port=5555"]),
        (["--port", "5555", "--persistent", "--db", "a b"], ["--port=5555", "--persistent", "--db=a b"]),
        (["--url-prefix", "flower", "--port=0"], ["--url-prefix=flower", "--port=0"]),
    ],
)
def test_a_value_may_be_a_word_of_its_own(
    run: Run, started: list[list[str]], words: list[str], handed_on: list[str]
) -> None:
    assert run("flower", "--basic-auth", "admin:secret", *words, REDIS_URL=REDIS).exit_code == 0
    assert started == [["-A", "worker68", "flower", "--basic-auth=admin:secret", *handed_on]]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--port"], "--port needs a value: --port=VALUE"),
        (["--db", "--port=1"], "--db needs a value: --db=VALUE"),
        (["--prot=5555"], "Flower has no option --prot"),
        (["5555"], "Flower has no option 5555"),
        (["--port=abc"], "--port: invalid literal"),
        (["--max-tasks", "1.5"], "--max-tasks: invalid literal"),
        (["--format_task=f"], "--format_task: "),
    ],
)
def test_an_option_that_flower_cannot_read_is_one_line(
    run: Run, started: list[list[str]], words: list[str], problem: str
) -> None:
    result = run("flower", "--basic-auth=admin:secret", *words, REDIS_URL=REDIS)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert problem in result.stderr
    assert started == []


def test_a_variable_that_flower_cannot_read_is_one_line(
    run: Run, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWER_PORT", "abc")
    result = run("flower", "--basic-auth=admin:secret", REDIS_URL=REDIS)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "'abc'" in result.stderr
    assert started == []


def test_a_flower_that_cannot_listen_is_one_line(
    run: Run, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object, **__: object) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr("celery.bin.celery.celery.main", taken)
    result = run("flower", "--basic-auth=admin:secret", REDIS_URL=REDIS)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "Address already in use" in result.stderr


def test_an_open_api_is_refused(run: Run, started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    result = run("flower", "--basic-auth=admin:secret", REDIS_URL=REDIS)
    assert result.exit_code == 2
    assert "FLOWER_UNAUTHENTICATED_API" in result.stderr


def test_metrics_are_closed_before_flower_starts(run: Run, started: list[list[str]]) -> None:
    handlers: list[Any] = urls.handlers
    assert monitor.Metrics in [handler[1] for handler in handlers if isinstance(handler, tuple)]
    run("flower", "--basic-auth=admin:secret", REDIS_URL=REDIS)
    classes = [handler[1] for handler in handlers if isinstance(handler, tuple)]
    assert monitor.Metrics not in classes
    assert flower.ClosedMetrics in classes
    assert control.TaskRevoke not in classes
    assert flower.AnsweredRevoke in classes
    assert app.Inspector is flower.PatientInspector


def test_a_flower_that_has_moved_its_metrics_is_not_started() -> None:
    with pytest.raises(LookupError):
        flower.replace_handler([("/other", object)], monitor.Metrics, flower.ClosedMetrics)


def test_what_a_worker_does_not_know_is_left_out() -> None:
    """Flower's page of a worker takes a list, and would be an error in the place of one that says what is wrong."""
    inspector = flower.PatientInspector(None, None, 1.0)

    inspector._on_update("worker@host", "scheduled", {"error": "not known: the database is slow or away"})
    assert inspector.workers == {}

    inspector._on_update("worker@host", "scheduled", [])
    assert inspector.workers["worker@host"]["scheduled"] == []
