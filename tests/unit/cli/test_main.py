"""What every command has: help with an example, one line for what is wrong, an exit code that says which kind of wrong."""

from __future__ import annotations

import click
import pytest

from tests.unit.cli.conftest import Run, check_refused, imported_by
from worker68.cli.main import COMMANDS, main
from worker68.errors import DatabaseAway, DatabaseUnfit, RedisAway, SettingsError


def every_command() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, within) for within in command.commands]
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_each_command_has_help_with_an_example(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"worker68 {' '.join(words)}" in result.stdout.partition("Example")[2]
    assert result.stderr == ""


def test_help_needs_no_settings_and_names_each_command(run: Run) -> None:
    result = run("--help", LIMITS="nonsense")
    assert result.exit_code == 0
    assert all(f"\n  {name} " in result.stdout for name in COMMANDS)


def test_help_imports_no_command() -> None:
    assert not {place.partition(":")[0] for place, _ in COMMANDS.values()} & imported_by("--help")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nope",), "No such command 'nope'"),
        (("jobs", "list", "--state", "lost"), "'lost' is not one of"),
        (("jobs", "cancel", "a\udcff"), "'a?' is not UTF-8"),
        (("jobs", "list", "--limit", "0"), "0 is not in the range"),
        (("jobs", "show"), "Missing argument 'ID'"),
        (("simulator",), "Missing option '--port'"),
        (("simulator", "--port", "65536"), "65536 is not in the range"),
        (("simulator", "--port", "0", "--page-size", "0"), "0 is not in the range"),
        (("demo", "--jobs", "-1"), "-1 is not in the range"),
    ],
)
def test_asking_wrongly_is_one_line_and_status_2(run: Run, words: tuple[str, ...], told: str) -> None:
    check_refused(run(*words, REDIS_URL="redis://127.0.0.1:1/0"), told)


@pytest.mark.parametrize(
    "words",
    [
        ("send", "--group", "1", "hello"),
        ("mute", "--group", "1", "--user", "2", "--seconds", "3"),
        ("mute", "--group", "1", "--off"),
        ("notice", "--group", "1", "hello"),
        ("sync", "groups"),
        ("sync", "online", "--group", "1", "--user", "2"),
        ("api-url",),
        ("request", "UserInfo", "/user/userInfo"),
        ("restart-client",),
        ("check",),
        ("top",),
        ("flower",),
    ],
    ids=" ".join,
)
def test_a_missing_setting_is_named_with_status_2(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("worker68: WORKER68_REDIS_URL is not set")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [("db", "upgrade"), ("jobs", "list"), ("jobs", "show", "x"), ("jobs", "cancel", "x"), ("simulator", "--port", "0")],
    ids=" ".join,
)
def test_a_wrong_setting_is_named_with_status_2(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words, VERDICT_TIMEOUT="soon")
    assert result.exit_code == 2
    assert result.stderr.startswith("worker68: WORKER68_VERDICT_TIMEOUT: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (SettingsError("WORKER68_X is\nwrong"), 2, "worker68: WORKER68_X is wrong\n"),
        (RedisAway("Redis is away"), 1, "worker68: Redis is away\n"),
        (
            DatabaseAway("refused"),
            1,
            "worker68: the database does not answer (refused); start it, or set WORKER68_DATABASE_URL to where it is\n",
        ),
        (DatabaseUnfit("no tables: run `worker68 db upgrade`"), 1, "worker68: no tables: run `worker68 db upgrade`\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_expected_error_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, told: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("worker68.cli.jobs.open_database", fail)
    result = run("jobs", "list")
    assert (result.exit_code, result.stderr, result.stdout) == (code, told, "")


def test_a_fault_of_ours_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker68.cli.jobs.open_database", lambda *_: 1 / 0)
    assert isinstance(run("jobs", "list").exception, ZeroDivisionError)
