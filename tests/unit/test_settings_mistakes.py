"""Each mistake in a setting is one line that names the setting and says what would be right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.parts.environment import Environment
from worker68.errors import SettingsError
from worker68.settings import Settings


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"REDIS_URL": "sentinals://h/main/0"},
            "WORKER68_REDIS_URL: expected redis://HOST:PORT/DB or rediss://HOST:PORT/DB, or sentinel://HOST:PORT,HOST:PORT/",
        ),
        ({"REDIS_URL": "localhost:6379"}, "WORKER68_REDIS_URL: expected redis://HOST:PORT/DB or rediss://HOST:PORT/DB"),
        ({"REDIS_URL": "http://host"}, "WORKER68_REDIS_URL: expected redis://"),
        ({"REDIS_URL": "redis://"}, "WORKER68_REDIS_URL: expected redis://"),
        ({"REDIS_URL": "redis://host:port"}, "WORKER68_REDIS_URL: expected redis://"),
        ({"REDIS_URL": "redis://[::1"}, "WORKER68_REDIS_URL: "),
        (
            {"REDIS_URL": "redis://h/0?socket_timeout=5"},
            "WORKER68_REDIS_URL: expected redis://HOST:PORT/DB or rediss://HOST:PORT/DB without a query: worker68 sets",
        ),
        (
            {"REDIS_URL": "redis://h/first"},
            "WORKER68_REDIS_URL: expected redis://HOST:PORT/DB or rediss://HOST:PORT/DB: the path is the number of a database",
        ),
        (
            {"BRIDGE_URL": "http://127.0.0.1:5600"},
            "WORKER68_BRIDGE_URL: expected ws://HOST:PORT, like ws://127.0.0.1:5600",
        ),
        ({"BRIDGE_URL": "ws://host:99999"}, "WORKER68_BRIDGE_URL: expected ws://HOST:PORT"),
        ({"BRIDGE_URL": "WS://host:5600"}, "WORKER68_BRIDGE_URL: expected ws://HOST:PORT"),
        ({"BRIDGE_URL": " ws://host:5600"}, "WORKER68_BRIDGE_URL: expected ws://HOST:PORT"),
        ({"BRIDGE_URL": "ws://user:secret@:5600"}, "WORKER68_BRIDGE_URL: expected ws://HOST:PORT"),
        (
            {"VERDICT_TIMEOUT": "soon"},
            "WORKER68_VERDICT_TIMEOUT: expected seconds or a length like 10s, 5m, 2h, 7d (got 'soon')",
        ),
        ({"VERDICT_TIMEOUT": "0"}, "WORKER68_VERDICT_TIMEOUT: expected a length above zero"),
        ({"VERDICT_TIMEOUT": "off"}, "WORKER68_VERDICT_TIMEOUT: expected seconds"),
        ({"REPLY_TTL": "9" * 400 + "d"}, "WORKER68_REPLY_TTL: expected a length of at most ten years"),
        ({"REPLY_TTL": "0.5"}, "WORKER68_REPLY_TTL: expected at least 1s (got '0.5')"),
        ({"LEASE_TTL": "0.01s"}, "WORKER68_LEASE_TTL: expected at least 1s (got '0.01s')"),
        ({"MAX_AGE": "0"}, "WORKER68_MAX_AGE: expected a length above zero"),
        ({"MAX_AGE": "never"}, "WORKER68_MAX_AGE: expected seconds"),
        ({"KEEP_TEXT": "11000d"}, "WORKER68_KEEP_TEXT: expected a length of at most ten years"),
        ({"CONCURRENCY": "0"}, "WORKER68_CONCURRENCY: input should be greater than or equal to 1 (got '0')"),
        ({"CONCURRENCY": "many"}, "WORKER68_CONCURRENCY: input should be a valid integer"),
        ({"MAX_IN_FLIGHT": "1.5"}, "WORKER68_MAX_IN_FLIGHT: input should be a valid integer"),
        ({"MAX_WAITING": "99999999999"}, "WORKER68_MAX_WAITING: input should be less than or equal to 10000000"),
        ({"METRICS_PORT": "70000"}, "WORKER68_METRICS_PORT: input should be less than or equal to 65535"),
        ({"WEIGHT": "0"}, "WORKER68_WEIGHT: input should be greater than or equal to 1 (got '0')"),
        ({"LABELS": "berlin"}, "WORKER68_LABELS: expected JSON, because it is a list or a table"),
        ({"LABELS": '["Berlin"]'}, "WORKER68_LABELS: string should match pattern '^[a-z0-9_-]{1,64}$' (got 'Berlin')"),
        (
            {"ACCOUNTS": '{"a": {"bridge_url": "ws://h:1", "label": ""}}'},
            "WORKER68_ACCOUNTS['a'].label: string should match pattern '^[a-z0-9_-]{1,64}$' (got '')",
        ),
        ({"LABEL": "berlin"}, "WORKER68_LABEL: no such setting"),
        ({"LOG_FORMAT": "xml"}, "WORKER68_LOG_FORMAT: input should be 'json' or 'text' (got 'xml')"),
        ({"LOG_LEVEL": "loud"}, "WORKER68_LOG_LEVEL: input should be 'debug', 'info', 'warning' or 'error'"),
        ({"LOG_CONTENT": "maybe"}, "WORKER68_LOG_CONTENT: input should be a valid boolean"),
        ({"CONFIRM": "always"}, "WORKER68_CONFIRM: input should be 'verdict', 'reply' or 'write' (got 'always')"),
        ({"VERDICT_MATCH": "text"}, "WORKER68_VERDICT_MATCH: input should be 'auto', 'id' or 'chat'"),
        ({"NEWLINE": "\\n"}, "WORKER68_NEWLINE: input should be 'escaped' or 'raw'"),
        (
            {"ALLOWED_TASKS": "worker68.send_message"},
            "WORKER68_ALLOWED_TASKS: input should be a valid list",
        ),
        ({"ALLOWED_TASKS": '"worker68.send_message"'}, "WORKER68_ALLOWED_TASKS: input should be a valid list"),
        (
            {"ALLOWED_TASKS": '["worker68.send_mesage"]'},
            "WORKER68_ALLOWED_TASKS: no such task; did you mean 'worker68.send_message'? (got 'worker68.send_mesage')",
        ),
        (
            {"ALLOWED_TASKS": '["sync_groups"]'},
            "WORKER68_ALLOWED_TASKS: no such task; did you mean 'worker68.sync_group",
        ),
        (
            {"ALLOWED_TASKS": '["*"]'},
            "WORKER68_ALLOWED_TASKS: expected full names of tasks like 'worker68.send_message'",
        ),
        ({"ALLOWED_PATHS": "[5]"}, "WORKER68_ALLOWED_PATHS: input should be a valid string"),
        (
            {"ALLOWED_PATHS": '["https://evil.example/user/userInfo"]'},
            "WORKER68_ALLOWED_PATHS: expected a path of plain names like /group/groupDetail: no host, no query",
        ),
        (
            {"ALLOWED_FILE_ROOTS": '["outbox"]'},
            "WORKER68_ALLOWED_FILE_ROOTS: expected an absolute folder of the bridge's machine like C:/outbox: ",
        ),
        (
            {"ACCOUNTS": '{"a": {"bridge_url": "ws://h:1", "allowed_file_roots": ["C:/out/../.."]}}'},
            "WORKER68_ACCOUNTS['a'].allowed_file_roots: expected an absolute folder of the bridge's machine like C:/outbox: ",
        ),
        ({"ACCOUNTS": "{"}, "WORKER68_ACCOUNTS: expected JSON, because it is a list or a table"),
        ({"ACCOUNTS": "[]"}, "WORKER68_ACCOUNTS: input should be a valid dictionary"),
        ({"ACCOUNTS": '{"a": 5}'}, "WORKER68_ACCOUNTS: input should be a valid dictionary"),
        ({"ACCOUNTS": '{"a": {}}'}, "WORKER68_ACCOUNTS['a'].bridge_url: field required"),
        (
            {"ACCOUNTS": '{"A": {"bridge_url": "ws://h:1"}}'},
            "WORKER68_ACCOUNTS['A']: an account's name has 1 to 64 of a-z",
        ),
        ({"ACCOUNTS": '{"a\\n": {"bridge_url": "ws://h:1"}}'}, "WORKER68_ACCOUNTS['a\\n']: an account's name"),
        ({"ACCOUNTS": '{"": {"bridge_url": "ws://h:1"}}'}, "WORKER68_ACCOUNTS['']: an account's name"),
        ({"ACCOUNTS": '{"a": {"bridge_url": "h:1"}}'}, "WORKER68_ACCOUNTS['a'].bridge_url: expected ws://HOST:PORT"),
        (
            {"ACCOUNTS": '{"a": {"bridge_url": "ws://h:1", "max_aeg": 5}}'},
            "WORKER68_ACCOUNTS['a'].max_aeg: no such setting",
        ),
        (
            {"ACCOUNTS": '{"a": {"bridge_url": "ws://h:1", "concurrency": 5}}'},
            "WORKER68_ACCOUNTS['a'].concurrency: no such setting of an account, only of a worker",
        ),
        (
            {"ACCOUNTS": '{"a": {"bridge_url": "ws://h:1", "max_age": "x"}}'},
            "WORKER68_ACCOUNTS['a'].max_age: expected seconds",
        ),
        (
            {"ACCOUNTS": '{"a": {"bridge_url": "ws://h:1", "limits": {"chat": "5"}}}'},
            "WORKER68_ACCOUNTS['a'].limits: chat: \"5\": expected N/s",
        ),
        ({"LIMITS": '{"chat": "5/m", "cat": "5/m"}'}, 'WORKER68_LIMITS: "cat": no such limit'),
        ({"LIMITS": '{"chat": "often"}'}, "WORKER68_LIMITS: chat: "),
        ({"LIMITS": "60/m"}, "WORKER68_LIMITS: "),
        ({"LIMITS": "{"}, "WORKER68_LIMITS: "),
        ({"LIMITS": "[5]"}, "WORKER68_LIMITS: "),
        (
            {"CONFIG": "/no/such/file.toml"},
            "WORKER68_CONFIG names '/no/such/file.toml', which cannot be read: No such file",
        ),
        ({"CONFIG": "/"}, "WORKER68_CONFIG names '/', which cannot be read: Is a directory"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value)[:60],
)
def test_a_mistake_is_one_line_that_says_what_would_be_right(
    env: Environment, settings: dict[str, str], line: str
) -> None:
    assert env.problem(**settings).startswith(line)


SAME_BRIDGE = [
    ("ws://h:5600", "ws://h:5600"),
    ("ws://H.Example:5600", "ws://h.example.:5600/"),
    ("ws://h/", "ws://h:80"),
    ("wss://h:443/bridge", "wss://user@h/bridge//"),
    ("ws://h/a%2Db", "ws://h/a-b#here"),
    ("ws://localhost:5600", "ws://127.0.0.1:5600"),
    ("ws://[::1]:5600", "ws://[0:0:0:0:0:0:0:1]:5600"),
]


@pytest.mark.parametrize(("one", "other"), SAME_BRIDGE)
def test_two_accounts_cannot_have_the_same_bridge_however_it_is_spelled(env: Environment, one: str, other: str) -> None:
    problem = env.problem(ACCOUNTS=json.dumps({"a": {"bridge_url": one}, "b": {"bridge_url": other}}))
    assert problem.startswith("WORKER68_ACCOUNTS: the accounts 'a' and 'b' have the same bridge_url")
    problem = env.problem(BRIDGE_URL=one, ACCOUNTS=json.dumps({"b": {"bridge_url": other}}))
    assert "'main'" in problem
    assert "'b'" in problem


def test_bridges_that_differ_are_told_apart(env: Environment) -> None:
    urls = [
        "ws://h:1",
        "ws://h:2",
        "wss://h",
        "ws://h",
        "ws://h/a",
        "ws://h/A",
        "ws://h/a?b",
        "ws://127.0.0.2.example:1",
    ]
    tables = {f"a{number}": {"bridge_url": url} for number, url in enumerate(urls)}
    assert len(env.load(ACCOUNTS=json.dumps(tables)).account_settings()) == len(urls)


def test_every_mistake_is_named_at_once(env: Environment) -> None:
    problem = env.problem(CONCURRENCY="0", LOG_LEVEL="loud", REDIS_URL="x")
    assert [part.split(":")[0] for part in problem.split("; ")] == [
        "WORKER68_REDIS_URL",
        "WORKER68_CONCURRENCY",
        "WORKER68_LOG_LEVEL",
    ]


@pytest.mark.parametrize(
    "name", [name.upper() for name in Settings.model_fields] + ["CONFIG"], ids=lambda name: str(name).lower()
)
def test_an_empty_variable_counts_as_not_set(env: Environment, name: str) -> None:
    env.toml('redis_url = "redis://h/1"\n[accounts.other]\nbridge_url = "ws://h:1"\n')
    expected = Settings(redis_url="redis://h/1", accounts={"other": {"bridge_url": "ws://h:1"}})
    if name == "CONFIG":
        expected = Settings()
    assert env.load(**{name: ""}) == expected


@pytest.mark.parametrize("name", ["REDIS_URL", "BRIDGE_URL"])
def test_a_wrong_url_is_not_shown_because_it_may_hold_a_password(env: Environment, name: str) -> None:
    assert "secret" not in env.problem(**{name: "nonsense://user:secret@host"})


def test_a_name_that_nobody_knows_is_not_swallowed(env: Environment) -> None:
    assert env.problem(REDIS_ULR="redis://h").startswith(
        "WORKER68_REDIS_ULR: no such setting; did you mean WORKER68_REDIS_URL?"
    )


def test_a_missing_redis_url_is_said_where_it_is_needed(env: Environment) -> None:
    with pytest.raises(SettingsError, match="WORKER68_REDIS_URL is not set; expected something like redis://"):
        env.load().require_redis_url()
    assert env.load(REDIS_URL="redis://h").require_redis_url() == "redis://h"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("redis_ulr = 'redis://h'", "WORKER68_REDIS_ULR: no such setting; did you mean WORKER68_REDIS_URL?"),
        ("concurrency = 'x'", "WORKER68_CONCURRENCY: input should be a valid integer"),
        ("max_age = -5", "WORKER68_MAX_AGE: expected a length above zero"),
        ("max_age = nan", "WORKER68_MAX_AGE: expected a length"),
        ("verdict_timeout = inf", "WORKER68_VERDICT_TIMEOUT: expected a length of at most ten years"),
        ("limits = 5", "WORKER68_LIMITS: "),
        ("= 5", "WORKER68_CONFIG names "),
        ("[accounts.a]\nbridge_url = 5", "WORKER68_ACCOUNTS['a'].bridge_url: input should be a valid string"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_too(env: Environment, text: str, line: str) -> None:
    env.toml(text)
    assert line in env.problem()


def test_a_file_that_is_no_text(env: Environment, tmp_path: Path) -> None:
    env.toml("")
    (tmp_path / "worker68.toml").write_bytes(b"\xff\xfe")
    assert "which is no TOML" in env.problem()
