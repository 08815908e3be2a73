"""The file of settings that ``WORKER68_CONFIG`` names: TOML, which holds where the environment says nothing.

In: its path, and which settings the environment has. Out: the others by their names; or ``SettingsError``, in one line. Never: a
value that is looked at, or mixed with the environment's: a list or a table of the environment replaces that of the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from typing import Any

from worker68.errors import SettingsError


def read_config_file(path: str, in_environment: Collection[str]) -> dict[str, Any]:
    """Return the settings of a file but those of the environment, in small letters as the keys are."""
    settings = {name: value for name, value in _read(path).items() if name not in in_environment}
    accounts = settings.get("accounts")
    if "bridge_url" in in_environment and isinstance(accounts, dict) and isinstance(accounts.get("main"), dict):
        # The environment's is that of the account ``main``, whose table in the file may name another.
        main = {name: value for name, value in accounts["main"].items() if name != "bridge_url"}
        settings["accounts"] = accounts | {"main": main}
    return settings


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return {name.lower(): value for name, value in tomllib.load(file).items()}
    except OSError as error:
        raise SettingsError(f"WORKER68_CONFIG names {path!r}, which cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"WORKER68_CONFIG names {path!r}, which is no TOML: {error}") from None
