"""``worker68 simulator``: it serves until it is told to stop."""

from __future__ import annotations

import json
import re
import subprocess

from tests.acceptance.cli.conftest import COMMAND, NOWHERE, Run
from tests.parts.worker import PATIENCE_SECONDS, environment


def test_the_simulator_serves_until_it_is_told_to_stop(command: Run) -> None:
    process = subprocess.Popen(
        [*COMMAND, "simulator", "--port", "0"],
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
        findings = json.loads(command("check", "--json", **(NOWHERE | {"BRIDGE_URL": url[0]})).stdout)
        assert findings[-1]["ok"], findings
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()
