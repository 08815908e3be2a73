"""``worker68 simulator``: it serves until it is told to stop."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def look(command: Run, url: str) -> Any:
    """Return what ``check`` finds at the bridge."""
    return json.loads(command("check", "--json", **(NOWHERE | {"BRIDGE_URL": url})).stdout)[-1]


def test_the_simulator_serves_until_it_is_told_to_stop(command: Run) -> None:
    with simulator() as url:
        assert (finding := look(command, url))["ok"], finding


def test_faults_of_the_command_line_and_of_a_scenario_hold(command: Run, tmp_path: Path) -> None:
    scenario = tmp_path / "own.toml"
    scenario.write_text('words = "never let in"\n[faults]\nrefuse_connections = true\n', encoding="utf-8")
    with simulator("--client-queues", "--scenario", str(scenario)) as url:
        assert "HTTP status 503" in look(command, url)["found"]
    with simulator("--fault", "no_hello") as url:
        assert "no Hello yet" in look(command, url)["found"]
