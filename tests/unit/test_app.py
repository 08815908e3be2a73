"""Celery's application: what it is told follows from our settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parts.environment import BRIDGE, Environment
from worker68.app import make_app
from worker68.errors import SettingsError


def test_no_two_queues_share_an_exchange(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One message reaches one account; Celery's banner shows these very bindings."""
    accounts = f'{{"main": {{"bridge_url": "{BRIDGE}"}}, "b": {{"bridge_url": "{BRIDGE}1"}}}}'
    app = make_app(Environment(monkeypatch, tmp_path).load(REDIS_URL="redis://127.0.0.1:1", ACCOUNTS=accounts))
    queues = app.amqp.queues.consume_from
    assert {name: (queue.exchange.name, queue.routing_key) for name, queue in queues.items()} == {
        name: (name, name) for name in ("worker68", "worker68.main", "worker68.b")
    }


@pytest.mark.parametrize(
    "name", ["CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"]
)
def test_no_variable_of_celerys_leads_to_another_redis(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Environment(monkeypatch, tmp_path).load(REDIS_URL="redis://127.0.0.1:1")
    monkeypatch.setenv(name, "redis://127.0.0.1:2")
    with pytest.raises(SettingsError, match=f"{name} is set"):
        make_app(settings)
