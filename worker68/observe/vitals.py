"""A worker's vitals: its look at its own health, the status that it reports, the metrics that it serves.

In: the parts of the runtime. Out: HEALTH_FILE, the roster in Redis, ``/metrics``. A service of the loop, which begins after the
parts and ends before them.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from worker68.errors import SettingsError
from worker68.observe.checks import REST_WHILE_DRAINING, make_checks
from worker68.observe.figures import make_registry
from worker68.observe.health import Watch
from worker68.observe.metrics import Page
from worker68.observe.parts import Parts
from worker68.observe.status import StatusReport
from worker68.settings import Settings
from worker68.watchdog import Watchdog

log = structlog.get_logger(__name__)


class Vitals:
    """Raises ``SettingsError`` where the port for the metrics is taken, or the health file cannot be written."""

    def __init__(self, parts: Parts, settings: Settings, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._status = StatusReport(parts)
        if settings.health_file is not None:
            _clear(settings.health_file)
        self._watch = Watch(
            make_checks(parts, settings.lease_ttl), settings.health_file, parts.loop.loop, on_look=self._status.report
        )
        self._metrics = None
        if settings.metrics_port is not None:
            self._metrics = Page(settings.metrics_port, make_registry(parts, lambda: self.problem))
            log.info("metrics_served", port=settings.metrics_port)

    @property
    def problem(self) -> str | None:
        """What is wrong with this worker, None while it is well."""
        return self._watchdog.problem or self._watch.problem

    async def run(self) -> None:
        await self._watch.run()

    def drain(self) -> None:
        """Nothing is taken in or started any more, which is no illness now."""
        self._watch.forgo(*REST_WHILE_DRAINING)

    def stop(self) -> None:
        self._watch.stop()

    def close(self) -> None:
        """Leave nothing behind that says something about this worker. It waits for Redis, and for a scrape."""
        self._watch.remove_file()
        self._status.leave()
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None


def _clear(file: Path) -> None:
    """Remove what an earlier process left, which says nothing about this one, and see that the file can be made."""
    try:
        file.touch()
        file.unlink()
    except OSError as error:
        raise SettingsError(
            f"WORKER68_HEALTH_FILE names {str(file)!r}, which cannot be written: {error.strerror}"
        ) from None
