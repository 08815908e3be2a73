"""A runtime that looks at itself, with everything around it but Celery."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.parts.metrics import values_of
from tests.parts.worker import wait_until
from worker68.observe import vitals
from worker68.observe.figures import make_registry
from worker68.observe.health import Check, Watch
from worker68.observe.parts import Parts
from worker68.runtime import Runtime
from worker68.settings import Settings
from worker68.simulator import Simulator
from worker68.store.migration import upgrade

LOOK, PATIENCE = 0.05, 1.0


class Stand:
    """A runtime with everything around it but Celery."""

    def __init__(self, settings: Settings, parts: list[Parts], bridge: Simulator) -> None:
        self.bridge = bridge
        self.runtime: Runtime = Runtime(settings)
        self.parts = parts[0]
        assert settings.health_file is not None
        self.health_file: Path = settings.health_file

    def wait_owned(self) -> None:
        """Wait until it owns its account, and the bridge can be used."""
        wait_until(lambda: [account.link.ready for account in self.parts.owned.all()] == [True])

    def figures(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Return worker68's own figures, by name and labels."""
        found = values_of(make_registry(self.parts, lambda: None).collect())
        return {name: values for name, values in found.items() if name.startswith("worker68_")}

    def ended(self) -> dict[tuple[str, ...], float]:
        """Return how many jobs have ended, by their labels."""
        return self.figures()["worker68_jobs_ended_total"]


@pytest.fixture
def stand(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    monkeypatch.setattr(vitals, "Watch", functools.partial(Watch, look_seconds=LOOK, patience_seconds=PATIENCE))
    seen: list[Parts] = []
    make_checks = vitals.make_checks

    def remember(parts: Parts, lease_ttl: float) -> Mapping[str, Check]:
        seen.append(parts)
        return make_checks(parts, lease_ttl)

    monkeypatch.setattr(vitals, "make_checks", remember)
    database = f"sqlite:///{tmp_path / 'worker68.db'}"
    upgrade(database)
    with Simulator(heartbeat_seconds=0.5) as bridge:
        settings = Settings(
            redis_url=redis_url, database_url=database, bridge_url=bridge.url, health_file=tmp_path / "health"
        )
        stand = Stand(settings, seen, bridge)
        yield stand
        bridge.faults.clear()  # a stop waits for verdicts
        stand.runtime.stop()
