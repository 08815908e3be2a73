"""Every setting's meaning, where it may stand, and which source wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parts.environment import BRIDGE, Environment
from worker68.jobs.permission import Permissions
from worker68.limits.rates import DEFAULT_LIMITS, NO_LIMITS, Rate
from worker68.limits.slow_downs import SlowDown
from worker68.protocol.api import DOCUMENTED
from worker68.tasks import TASKS


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


def test_the_defaults_are_those_of_the_contract(env: Environment) -> None:
    settings = env.load()
    assert (settings.redis_url, settings.database_url, settings.accounts) == (None, "sqlite:///worker68.db", {})
    assert (settings.concurrency, settings.lease_ttl, settings.reply_timeout) == (128, 10, 15)
    assert (settings.reply_ttl, settings.keep_text) == (7 * 86400, None)
    assert (settings.metrics_port, settings.health_file, settings.log_format) == (None, None, None)
    assert (settings.log_level, settings.log_content) == ("info", False)
    main = env.account()
    assert main.limits == DEFAULT_LIMITS
    assert (main.confirm, main.verdict_timeout, main.reply_timeout) == ("verdict", 30, 15)
    assert (main.verdict_match, main.newline) == ("auto", "escaped")
    assert (main.max_in_flight, main.max_waiting, main.max_age) == (8, 200_000, None)
    assert (settings.weight, settings.labels, main.label) == (1, [], None)
    assert main.permissions == Permissions(tasks=None, file_roots=(), paths=frozenset(DOCUMENTED))


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("REDIS_URL", "redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("REDIS_URL", "rediss://:secret@host", "rediss://:secret@host"),
        ("DATABASE_URL", "postgresql+psycopg://u@h/n", "postgresql+psycopg://u@h/n"),
        ("BRIDGE_URL", "wss://bridge:5600/path", "wss://bridge:5600/path"),
        ("VERDICT_TIMEOUT", "45", 45.0),
        ("VERDICT_TIMEOUT", "1.5m", 90.0),
        ("REPLY_TIMEOUT", "20s", 20.0),
        ("LEASE_TTL", "2h", 7200.0),
        ("WEIGHT", "3", 3),
        ("LABELS", '["berlin", "a_1-b"]', ["berlin", "a_1-b"]),
        ("REPLY_TTL", "30d", 2_592_000.0),
        ("MAX_AGE", "12h", 43_200.0),
        ("MAX_AGE", "off", None),
        ("KEEP_TEXT", "for ever", None),
        ("KEEP_TEXT", "90d", 7_776_000.0),
        ("CONCURRENCY", "1", 1),
        ("MAX_IN_FLIGHT", "64", 64),
        ("MAX_WAITING", "10", 10),
        ("METRICS_PORT", "9100", 9100),
        ("HEALTH_FILE", "/run/health", Path("/run/health")),
        ("LOG_FORMAT", "text", "text"),
        ("LOG_LEVEL", "debug", "debug"),
        ("LOG_CONTENT", "true", True),
        ("CONFIRM", "reply", "reply"),
        ("VERDICT_MATCH", "chat", "chat"),
        ("NEWLINE", "raw", "raw"),
        ("CHECK_TEXTS", "false", False),
        ("ALLOWED_TASKS", '["worker68.sync_groups"]', ["worker68.sync_groups"]),
        ("EXPERIMENTAL_TASKS", '["worker68.rename_group"]', ["worker68.rename_group"]),
        ("ALLOWED_FILE_ROOTS", '["C:/out"]', ["C:/out"]),
        ("ALLOWED_PATHS", "[]", []),
    ],
)
def test_each_setting_has_its_meaning(env: Environment, name: str, value: str, meaning: Any) -> None:
    assert getattr(env.load(**{name: value}), name.lower()) == meaning


class TestToml:
    def test_a_file_gives_settings_and_accounts(self, env: Environment) -> None:
        env.toml(
            f"""
            redis_url = "redis://h"
            MAX_AGE = "1h"
            concurrency = 5
            limits = {{ chat = "5/m", account = "off" }}
            [accounts.main]
            bridge_url = "{BRIDGE}"
            max_age = "off"
            [accounts.shop-2]
            bridge_url = "ws://shop:5600"
            limits = {{ chat = "1/s+3" }}
            """
        )
        settings = env.load()
        assert (settings.redis_url, settings.concurrency, settings.max_age) == ("redis://h", 5, 3600)
        accounts = settings.account_settings()
        assert (accounts["main"].max_age, accounts["shop-2"].max_age) == (None, 3600)
        assert (accounts["main"].limits.account, accounts["main"].limits.chat) == (None, Rate(5, 60))
        assert (accounts["shop-2"].limits.account, accounts["shop-2"].limits.chat) == (None, Rate(1, 1, 3))
        assert accounts["shop-2"].limits.send == DEFAULT_LIMITS.send

    def test_the_environment_wins(self, env: Environment) -> None:
        env.toml('log_level = "debug"\nconcurrency = 5\n')
        settings = env.load(CONCURRENCY="7")
        assert (settings.log_level, settings.concurrency) == ("debug", 7)


class TestAccounts:
    def test_bridge_url_is_the_account_main(self, env: Environment) -> None:
        assert env.account().bridge_url == BRIDGE

    def test_mains_own_table_stands_over_the_shorthand(self, env: Environment) -> None:
        assert env.account(ACCOUNTS='{"main": {"max_in_flight": 3}}').max_in_flight == 3
        assert env.account(ACCOUNTS='{"main": {"bridge_url": "ws://other:1"}}').bridge_url == "ws://other:1"

    def test_an_accounts_table_stands_over_the_general_settings(self, env: Environment) -> None:
        own = {
            "bridge_url": "ws://h:1",
            "confirm": "write",
            "verdict_timeout": "1m",
            "verdict_match": "id",
            "newline": "raw",
            "max_in_flight": 2,
            "max_waiting": 5,
            "max_age": "1h",
            "allowed_tasks": ["worker68.sync_groups"],
            "allowed_file_roots": ["D:/own/"],
            "allowed_paths": ["/user/userInfo"],
            "limits": "off",
        }
        accounts = env.load(
            BRIDGE_URL=BRIDGE,
            ACCOUNTS=json.dumps({"own": own}),
            MAX_IN_FLIGHT="4",
            CONFIRM="reply",
            ALLOWED_FILE_ROOTS='["C:/general"]',
        ).account_settings()
        mine, main = accounts["own"], accounts["main"]
        assert (mine.confirm, mine.verdict_timeout, mine.verdict_match, mine.newline) == ("write", 60, "id", "raw")
        assert (mine.max_in_flight, mine.max_waiting, mine.max_age) == (2, 5, 3600)
        assert mine.limits == NO_LIMITS
        assert mine.permissions == Permissions(
            tasks=frozenset({"worker68.sync_groups"}), file_roots=("D:/own/",), paths=frozenset({"/user/userInfo"})
        )
        assert main.permissions.why_not_task(TASKS["worker68.send_message"]) is None
        assert main.permissions.why_not_file("C:/general/a.txt") is None
        assert main.permissions.why_not_file("D:/own/a.txt") is not None
        assert (main.max_in_flight, main.confirm, main.limits) == (4, "reply", DEFAULT_LIMITS)

    def test_no_task_allowed_is_not_the_same_as_all(self, env: Environment) -> None:
        assert env.account(ALLOWED_TASKS="[]").permissions.why_not_task(TASKS["worker68.sync_groups"]) is not None

    @pytest.mark.parametrize("value", ["off", '"off"'])
    def test_limits_can_be_off(self, env: Environment, value: str) -> None:
        assert env.account(LIMITS=value).limits == NO_LIMITS

    def test_one_limit_can_be_off(self, env: Environment) -> None:
        limits = env.account(LIMITS='{"chat": "off", "read": "5/s"}').limits
        assert (limits.chat, limits.read, limits.account) == (None, Rate(5, 1), DEFAULT_LIMITS.account)


def test_a_wrong_rule_for_busy_answers_is_refused(env: Environment) -> None:
    assert "WORKER68_SLOW_DOWNS: 300: slows: expected" in env.problem(SLOW_DOWNS='{"300": {"slows": "chat"}}')
    table = '{"shop": {"bridge_url": "ws://h:1", "slow_downs": {"x": {}}}}'
    assert "WORKER68_ACCOUNTS['shop'].slow_downs: x: a code is" in env.problem(SLOW_DOWNS="", ACCOUNTS=table)


def test_an_accounts_rules_for_busy_answers_add_to_the_general_ones(env: Environment) -> None:
    table = '{"shop": {"bridge_url": "ws://h:1", "slow_downs": {"300": {"share": 0.75}}}}'
    settings = env.load(SLOW_DOWNS='{"429": {"slows": "account"}}', ACCOUNTS=table)
    assert settings.account_settings()["shop"].slow_downs == {429: SlowDown("account"), 300: SlowDown("call", 0.75)}
