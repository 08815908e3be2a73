"""``worker68 simulator``: its help lists what can be turned on, and what cannot is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from worker68.simulator import Faults
from worker68.simulator.knobs import list_knobs
from worker68.simulator.scenario import list_scenarios


def test_the_help_lists_every_fault_scenario_and_short_name(run: Run) -> None:
    shown = run("simulator", "--help").stdout
    lines = [line.strip() for line in shown.splitlines()]
    knobs = list(list_knobs(Faults()))
    for name in (*(knob.name for knob in knobs), *list_scenarios(), *(name for knob in knobs for name in knob.short)):
        assert any(line.startswith(name) for line in lines), name
    assert "!sim:" in shown


def test_the_help_is_there_without_the_simulators_packages() -> None:
    script = "import sys; sys.modules['websockets'] = None; sys.argv = ['worker68', 'simulator', '--help']\n"
    script += "from worker68.cli.start import main; main()"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "--scenario" in shown
    assert "busy_sends" not in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fault", "bussy"], 'no fault is called "bussy"; did you mean busy'),
        (["--fault", "busy=x"], 'busy_sends: "x": expected N or always'),
        (["--fault", "late"], "needs a value"),
        (["--scenario", "evening"], 'no scenario is called "evening"; there are'),
        (["--scenario", "missing.toml"], "missing.toml: No such file"),
        (["--replay", "missing.jsonl"], "missing.jsonl: No such file"),
    ],
)
def test_what_cannot_be_is_one_line(run: Run, options: list[str], words: str) -> None:
    done = run("simulator", "--port", "0", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "simulator --help" in done.stderr


def test_a_scenario_of_ones_own_is_checked_before_it_starts(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('words = "x"\n[faults]\nbussy = 1\n', encoding="utf-8")
    done = run("simulator", "--port", "0", "--scenario", str(path))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert f'scenario {path}: no fault is called "bussy"' in done.stderr
