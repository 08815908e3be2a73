"""docker-compose.yml without Docker: each service's command run as a process, in the order and with the environment of the file.

In: the file, the Dockerfile, and what stands in `.env`. Out: processes that were started when their conditions held, answer their
health checks, and are stopped as Docker would: by the service's signal, killed after its grace. What differs from containers: names
of services become 127.0.0.1, ports become free ones, and folders of an image become temporary ones. Of a service whose image is
not ours, what the image's own entry does before the command is done here (`_Redis`, `_Postgres`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from tests.parts.postgres import INITDB_OPTIONS, PostgresServer
from tests.parts.worker import ROOT, wait_until
from worker68.child import end_process
from worker68.embedded import find_redis_server

COMPOSE_FILE: Final = ROOT / "docker-compose.yml"
DOCKERFILE: Final = ROOT / "Dockerfile"

_VARIABLE: Final = re.compile(r"\$\{(?P<name>\w+)(?:(?P<how>:-|:\?)(?P<rest>[^}]*))?\}")
#: Docker asks every few seconds; a test is in a hurry.
HEALTH_INTERVAL_SECONDS: Final = 0.2
_UNITS: Final = {"s": 1, "m": 60}


class NotSet(Exception):
    """A variable that must be set is not; the message is the file's own."""


def read_compose() -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(COMPOSE_FILE)
    return content


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Put variables in as Compose does, in all strings of ``value``. Raises ``NotSet``."""
    if isinstance(value, dict):
        return {name: interpolate(item, variables) for name, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def put_in(found: re.Match[str]) -> str:
        given = variables.get(found["name"], "")
        if not given and found["how"] == ":?":
            raise NotSet(f"{found['name']}: {found['rest']}")
        return given or (found["rest"] if found["how"] == ":-" else "") or ""

    return _VARIABLE.sub(put_in, value)


def parse_seconds(length: str) -> int:
    return int(length[:-1]) * _UNITS[length[-1]]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass(frozen=True)
class Image:
    """What the Dockerfile says about every container of it."""

    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str]
    health_check: list[str]
    stop_signal: str
    user: str

    @classmethod
    def read(cls) -> Image:
        text = DOCKERFILE.read_text().replace("\\\n", " ")
        environment = dict(
            word.split("=", 1) for line in re.findall(r"^ENV (.+)$", text, re.MULTILINE) for word in line.split()
        )
        return cls(
            entrypoint=json.loads(_only(text, r"^ENTRYPOINT (.+)$")),
            command=json.loads(_only(text, r"^CMD (.+)$")),
            environment=environment,
            health_check=json.loads(_only(text, r"^HEALTHCHECK .*CMD (.+)$")),
            stop_signal=_only(text, r"^STOPSIGNAL (\w+)$"),
            user=_only(text, r"^USER (.+)$"),
        )


def _only(text: str, pattern: str) -> str:
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return str(found)


@dataclass
class Container:
    """One process of one service."""

    service: str
    number: int
    words: list[str]
    environment: dict[str, str]
    health_check: list[str] | str | None
    stop_signal: signal.Signals
    grace_seconds: float
    log: Path
    ports: Mapping[str, int]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def is_healthy(self) -> bool:
        """Run the health check as Docker would, in the container's environment."""
        if self.health_check is None:
            return True
        shell = isinstance(self.health_check, str)
        checked = subprocess.run(
            self.health_check, shell=shell, env=self.environment, cwd=self.log.parent, capture_output=True, timeout=60
        )
        return checked.returncode == 0

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else "nothing"

    def stop(self) -> int:
        """Stop it as Docker would; return the exit code, which is below zero where it had to be killed."""
        assert self.process is not None
        if self.process.poll() is None:
            end_process(self.process, self.stop_signal, self.grace_seconds)
        return self.process.returncode


class Composed:
    """The project of docker-compose.yml as processes below ``folder``."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = dict(variables)
        self._image = Image.read()
        self._stack = ExitStack()
        self.services: dict[str, Any] = read_compose()["services"]
        self.containers: dict[str, list[Container]] = {}
        #: Port within the containers -> port here. Each worker gets its own instead of 9468.
        self.ports = {port: free_port() for port in ("6379", "5432", "5555", "5600")}

    def order(self, profiles: Sequence[str] = ()) -> list[str]:
        """Return the services in an order that their conditions allow."""
        there = {
            name for name, service in self.services.items() if set(service.get("profiles", profiles)) <= set(profiles)
        }
        ordered: list[str] = []
        while len(ordered) < len(there):
            free = [
                name
                for name in self.services
                if name in there and name not in ordered and set(self._conditions(name)) <= set(ordered)
            ]
            assert free, f"these wait for each other: {there - set(ordered)}"
            ordered += free
        return ordered

    def interpolated(self) -> dict[str, Any]:
        """Return the services with all variables put in. Raises ``NotSet``."""
        services: dict[str, Any] = interpolate(self.services, self._variables)
        return services

    def up(self, profiles: Sequence[str], scale: Mapping[str, int]) -> None:
        """Start every service once its conditions hold, and wait until those with a health check are healthy."""
        for name in self.order(profiles):
            for needed, condition in self._conditions(name).items():
                self._wait_for(needed, condition)
            self.containers[name] = [self._start(name, number) for number in range(scale.get(name, 1))]
        for name in self.containers:
            if not self._is_one_shot(name):
                self._wait_for(name, "service_healthy")

    def down(self) -> dict[str, list[int]]:
        """Stop what runs, the last started first; return the exit codes."""
        codes = {name: [one.stop() for one in self.containers[name]] for name in reversed(self.containers)}
        self._stack.close()
        return codes

    def run(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a container of the service: ``docker compose exec SERVICE WORDS``."""
        container = self.containers[service][0]
        command = _resolve(words, container.environment)
        return subprocess.run(
            command, env=container.environment, cwd=container.log.parent, capture_output=True, text=True, timeout=60
        )

    def _conditions(self, name: str) -> dict[str, str]:
        return {needed: how["condition"] for needed, how in self.services[name].get("depends_on", {}).items()}

    def _is_one_shot(self, name: str) -> bool:
        return any(self._conditions(other).get(name) == "service_completed_successfully" for other in self.services)

    def _wait_for(self, name: str, condition: str) -> None:
        for one in self.containers[name]:
            process = one.process
            assert process is not None
            if condition == "service_completed_successfully":
                wait_until(partial(_has_ended, process), one.said)
                assert process.returncode == 0, one.said()
                continue
            assert condition == "service_healthy"

            def check(one: Container = one, process: subprocess.Popen[bytes] = process) -> bool:
                assert process.poll() is None, f"{one.service} has ended: {one.said()}"
                return one.is_healthy() or bool(threading.Event().wait(HEALTH_INTERVAL_SECONDS))

            wait_until(check, one.said)

    def _start(self, name: str, number: int) -> Container:
        container = self._make(name, number)
        start = {"redis": self._start_redis, "postgres": self._start_postgres}.get(name, _start_process)
        container.process = start(container)
        self._stack.callback(end_process, container.process, signal.SIGKILL)
        return container

    def _make(self, name: str, number: int) -> Container:
        service = self.services[name]
        folder = self._folder / f"{name}-{number}"
        folder.mkdir()
        ports = self.ports | ({"9468": free_port()} if name == "worker" else {})
        places = _Places(ports, folder)
        ours = "build" in service
        given = {key: self._variables.get(key) if value is None else value for key, value in _table(service).items()}
        environment = {key: value for key, value in given.items() if value is not None}
        image = self._image.environment if ours else {}
        own = {key: value for key, value in image.items() if key != "PATH"} | {"PYTHONPATH": str(ROOT)}
        command = interpolate(service.get("command", self._image.command), self._variables)
        words = [*(self._image.entrypoint if ours else []), *command]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        inside = {"PATH": path, "HOME": str(folder)} | (own if ours else {}) | environment
        # Each container has a host name of its own, and so each worker a name of its own for remote control.
        inside["CELERY_WORKER_HOSTNAME"] = f"celery@{name}-{number}"
        return Container(
            service=name,
            number=number,
            words=[places.outside(word) for word in words],
            environment={key: places.outside(interpolate(value, self._variables)) for key, value in inside.items()},
            health_check=places.outside_all(interpolate(self._health_check(name), self._variables)),
            stop_signal=signal.Signals[service.get("stop_signal", self._image.stop_signal)],
            grace_seconds=parse_seconds(service.get("stop_grace_period", "10s")),
            log=folder / "output.log",
            ports=ports,
        )

    def _health_check(self, name: str) -> list[str] | str | None:
        given = self.services[name].get("healthcheck")
        if given is None:
            return self._image.health_check if "build" in self.services[name] else None
        if given.get("disable"):
            return None
        words: list[str] = given["test"]
        return words[1] if words[0] == "CMD-SHELL" else words[1:]

    def _start_redis(self, container: Container) -> subprocess.Popen[bytes]:
        """Do as the image does: work in its data folder."""
        container.words += [
            "--port",
            str(self.ports["6379"]),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(container.log.parent),
        ]
        put_first(container.environment, find_redis_server().parent)
        return _start_process(container)

    def _start_postgres(self, container: Container) -> subprocess.Popen[bytes]:
        """Do as the image's entry does: make the cluster, the user and the database, then run the command."""
        port, given = self.ports["5432"], container.environment
        options = (*container.words[1:], "-c", f"port={port}", "-c", "listen_addresses=127.0.0.1")
        server = PostgresServer(options, (*INITDB_OPTIONS, "--auth-host=scram-sha-256"), port)
        self._stack.enter_context(server)
        server.make_owner(given["POSTGRES_USER"], given["POSTGRES_PASSWORD"], given["POSTGRES_DB"])
        put_first(container.environment, server.bin)
        return server.process


def put_first(environment: dict[str, str], folder: Path) -> None:
    environment["PATH"] = os.pathsep.join([str(folder), environment["PATH"]])


def _table(service: Mapping[str, Any]) -> dict[str, Any]:
    return dict(service.get("environment", {}))


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


class _Places:
    """Where things of a container are found here."""

    def __init__(self, ports: Mapping[str, int], folder: Path) -> None:
        self._ports = ports
        self._folder = folder

    def outside(self, word: str) -> str:
        word = re.sub(r"(?<=[@/])(redis|postgres|simulator)(?=:\d)", "127.0.0.1", word)
        word = re.sub(r"\b(\d{4})\b", lambda found: str(self._ports.get(found[1], found[1])), word)
        word = word.replace("0.0.0.0", "127.0.0.1")
        return word.replace("/tmp/worker68-health", str(self._folder / "health"))

    def outside_all(self, words: list[str] | str | None) -> list[str] | str | None:
        if words is None:
            return None
        return self.outside(words) if isinstance(words, str) else [self.outside(word) for word in words]


def _resolve(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    program = shutil.which(words[0], path=environment["PATH"])
    assert program is not None, f"{words[0]} is not there"
    return [program, *words[1:]]


def _start_process(container: Container) -> subprocess.Popen[bytes]:
    with container.log.open("ab") as output:
        return subprocess.Popen(
            _resolve(container.words, container.environment),
            env=container.environment,
            cwd=container.log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
