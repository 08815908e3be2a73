"""docker-compose.yml: valid by the Compose specification's own schema, and as deploying needs it."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.parts.composed import Composed, Image, NotSet, interpolate, parse_seconds, read_compose
from tests.parts.environment import Environment
from tests.parts.worker import ROOT
from worker68.settings import Settings

#: Set by the file itself, by the image, or to no use in a container.
NOT_FOR_THE_OPERATOR = {"REDIS_URL", "DATABASE_URL", "METRICS_PORT", "HEALTH_FILE", "LOG_FORMAT"}


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read_compose()


def validate(compose: dict[str, Any]) -> None:
    schema = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(compose)


def test_it_is_valid_by_the_schema(compose: dict[str, Any]) -> None:
    validate(compose)


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [("worker", "stop_grace", "60s"), ("redis", "command", 1), ("worker", "expose", "9468")],
)
def test_the_schema_finds_mistakes(service: str, key: str, value: object) -> None:
    wrong = read_compose()
    wrong["services"][service][key] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(wrong)


def test_workers_can_be_multiplied(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    assert not {"container_name", "ports", "hostname"} & worker.keys()


def test_what_is_written_has_time_for_its_verdict(compose: dict[str, Any]) -> None:
    grace = parse_seconds(compose["services"]["worker"]["stop_grace_period"])
    assert grace == 60
    assert grace > Settings.model_fields["verdict_timeout"].default + 20


def test_every_setting_of_an_operator_is_handed_on(compose: dict[str, Any]) -> None:
    given = {name.removeprefix("WORKER68_") for name in compose["services"]["worker"]["environment"]}
    assert {name.upper() for name in Settings.model_fields} - NOT_FOR_THE_OPERATOR <= given


def test_nobody_else_starts_before_what_it_needs(compose: dict[str, Any]) -> None:
    needs = compose["services"]["worker"]["depends_on"]
    assert {name: how["condition"] for name, how in needs.items()} == {
        "redis": "service_healthy",
        "postgres": "service_healthy",
        "migrate": "service_completed_successfully",
    }
    assert all(compose["services"][name].get("healthcheck") for name in ("redis", "postgres", "flower", "simulator"))


def test_the_simulator_is_there_only_when_asked_for(tmp_path: Any) -> None:
    composed = Composed(tmp_path, {})
    assert "simulator" not in composed.order()
    assert set(composed.order(["simulator"])) == set(composed.services)


def test_only_this_host_reaches_redis_and_flower(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert [interpolate(port, {}) for port in published] == ["127.0.0.1:6379:6379", "127.0.0.1:5555:5555"]


@pytest.mark.parametrize("name", ["REDIS_PASSWORD", "POSTGRES_PASSWORD", "FLOWER_BASIC_AUTH"])
def test_what_must_be_set_is_named(name: str) -> None:
    given = {"REDIS_PASSWORD": "r", "POSTGRES_PASSWORD": "p", "FLOWER_BASIC_AUTH": "a:b"}
    interpolate(read_compose()["services"], given)
    with pytest.raises(NotSet, match=f"set {name}"):
        interpolate(read_compose()["services"], given | {name: ""})


def test_the_example_names_everything_that_can_be_set() -> None:
    example = (ROOT / ".env.example").read_text()
    text = (ROOT / "docker-compose.yml").read_text()
    names = set(re.findall(r"\$\{(\w+)", text)) - {"SIMULATOR_VERDICT_DELAY"}
    assert all(f"{name}=" in example for name in names)


@pytest.mark.parametrize(
    ("given", "accounts"),
    [
        ({"WORKER68_BRIDGE_URL": "ws://simulator:5600"}, ["main"]),
        ({"WORKER68_ACCOUNTS": '{"shop": {"bridge_url": "ws://h:1"}}'}, ["shop"]),
        ({}, []),
    ],
)
def test_the_example_is_read_as_it_is_but_for_what_must_be_set(
    env: Environment, given: dict[str, str], accounts: list[str]
) -> None:
    lines = [
        line.partition("=") for line in (ROOT / ".env.example").read_text().splitlines() if not line.startswith("#")
    ]
    example = {name: value for name, _, value in lines if name}
    example |= {"REDIS_PASSWORD": "r", "POSTGRES_PASSWORD": "p", "FLOWER_BASIC_AUTH": "a:b", **given}
    worker = interpolate(read_compose()["services"]["worker"]["environment"], example)
    # What the file names without a value is handed on as the example has it, also if that is nothing.
    passed_on = {name: example.get(name) if value is None else value for name, value in worker.items()}
    settings = env.load(**{name.removeprefix("WORKER68_"): str(v) for name, v in passed_on.items() if v is not None})
    assert list(settings.account_settings()) == accounts
    assert settings.metrics_port == 9468


def test_the_images_stop_and_health_are_those_of_a_worker() -> None:
    image = Image.read()
    assert image.stop_signal == "SIGTERM"
    assert image.health_check == ["worker68", "health"]
    assert image.user == "10001:10001"
    assert [*image.entrypoint, *image.command] == ["worker68", "worker"]
    assert "WORKER68_HEALTH_FILE" in image.environment
