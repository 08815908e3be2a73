"""``worker68 simulator``: it serves until it is told to stop."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.acceptance.cli.conftest import COMMAND, NOWHERE, Run
from tests.parts.worker import PATIENCE_SECONDS, environment


@contextmanager
def simulator(*options: str) -> Iterator[str]:
    """Run the command and yield its URL; afterwards ask it to end, which it must."""
    process = subprocess.Popen(
        [*COMMAND, "simulator", "--port", "0", *options],
        env=environment({"LOG_LEVEL": "error"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = re.search(r"ws://\S+", said)
        assert url is not None
        assert "SIMULATOR" in said
        yield url[0]
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_simulator_serves_until_it_is_told_to_stop(command: Run) -> None:
    with simulator() as url:
        finding = json.loads(command("check", "--json", **(NOWHERE | {"BRIDGE_URL": url})).stdout)[-1]
        assert finding["ok"], finding


def test_faults_of_the_command_line_and_of_a_scenario_hold(tmp_path: Path) -> None:
    scenario = tmp_path / "own.toml"
    scenario.write_text('words = "it never says Hello"\n[faults]\nno_hello = true\n', encoding="utf-8")
    with simulator("--client-queues", "--scenario", str(scenario), "--heartbeat", "0.01") as url, connect(url) as peer:
        assert json.loads(peer.recv(PATIENCE_SECONDS))["operator"] in ("network", "__batch__")
    with simulator("--fault", "refuse_connections") as url, pytest.raises(InvalidStatus):
        connect(url)
