"""What stands in the file of settings holds where the environment says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parts.environment import Environment
from worker68.config_file import read_config_file
from worker68.errors import SettingsError


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


def test_keys_are_settings_in_any_case(tmp_path: Path) -> None:
    file = tmp_path / "worker68.toml"
    file.write_text('LOG_LEVEL = "debug"\nconcurrency = 5\n')
    assert read_config_file(str(file), ()) == {"log_level": "debug", "concurrency": 5}
    assert read_config_file(str(file), {"log_level"}) == {"concurrency": 5}


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), (b"= 5", "no TOML"), (b"\xff", "no TOML")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "worker68.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^WORKER68_CONFIG names '{file}', which .*{why}"):
        read_config_file(str(file), ())


def test_the_bridge_of_the_environment_wins_over_the_table_of_main(env: Environment) -> None:
    env.toml(
        '[accounts.main]\nbridge_url = "ws://old:1"\nmax_in_flight = 3\n[accounts.shop]\nbridge_url = "ws://shop:1"\n'
    )
    assert env.load().account_settings()["main"].bridge_url == "ws://old:1"
    accounts = env.load(BRIDGE_URL="ws://new:1").account_settings()
    assert {name: one.bridge_url for name, one in accounts.items()} == {"main": "ws://new:1", "shop": "ws://shop:1"}
    assert accounts["main"].max_in_flight == 3


def test_the_accounts_of_the_environment_are_all_there_are(env: Environment) -> None:
    env.toml('[accounts.old]\nbridge_url = "ws://h:1"\n')
    assert env.load(ACCOUNTS='{"new": {"bridge_url": "ws://h:1"}}').account_settings().keys() == {"new"}


@pytest.mark.parametrize("in_file", ['limits = "off"', 'limits = {account = "off"}'])
def test_the_limits_of_the_environment_replace_all_of_the_file(env: Environment, in_file: str) -> None:
    env.toml(f"{in_file}\n")
    limits = env.account(LIMITS='{"chat": "5/m"}').limits
    assert limits == env.account(CONFIG="", LIMITS='{"chat": "5/m"}').limits
