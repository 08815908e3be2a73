"""The settings of a test: environment and file as an operator would write them, and the one line that refuses them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker68.errors import SettingsError
from worker68.settings import AccountSettings, Settings, load_settings

BRIDGE = "ws://127.0.0.1:5600"


class Environment:
    """This process's environment without any setting of worker68's, but those that a test gives."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        for name in [name for name in os.environ if name.startswith("WORKER68_")]:
            patch.delenv(name)
        self._patch = patch
        self._folder = folder

    def set(self, **settings: str) -> None:
        for name, value in settings.items():
            self._patch.setenv(f"WORKER68_{name}", value)

    def toml(self, text: str) -> None:
        path = self._folder / "worker68.toml"
        path.write_text(text)
        self.set(CONFIG=str(path))

    def load(self, **settings: str) -> Settings:
        self.set(**settings)
        return load_settings()

    def account(self, **settings: str) -> AccountSettings:
        """Return what holds for the account ``main``."""
        return self.load(BRIDGE_URL=BRIDGE, **settings).account_settings()["main"]

    def problem(self, **settings: str) -> str:
        """Return the one line that refuses these settings."""
        with pytest.raises(SettingsError) as refused:
            self.load(**settings)
        assert "\n" not in str(refused.value)
        return str(refused.value)
