"""A benchmark that cannot say anything with what it was given says so before it starts, without a traceback."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import rounds

FOLDER = Path(rounds.__file__).parent
#: The modules that take arguments.
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if "ArgumentParser(" in path.read_text())


def test_there_are_benchmarks() -> None:
    assert {"throughput", "accounts", "lanes"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_too_few_rounds_are_refused_at_once(name: str) -> None:
    words = [sys.executable, "-m", f"benchmarks.{name}", "--rounds", "3"]
    done = subprocess.run(words, cwd=FOLDER.parent, capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith("argument --rounds: at least 5, not 3")


@pytest.mark.parametrize("name", NAMES)
def test_no_number_is_read_without_its_bounds(name: str) -> None:
    source = (FOLDER / f"{name}.py").read_text()
    assert "type=int" not in source
    assert "type=float" not in source


@pytest.mark.parametrize("word", ["0", "-1", "nan", "inf", "x", ""])
def test_what_is_no_length_of_time(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        rounds.seconds(word)


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "x", ""])
def test_what_is_no_count(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        rounds.at_least(1)(word)


@pytest.mark.parametrize("word", ["", "1,", "1,0", "1;2", "many"])
def test_what_is_no_list_of_counts(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        rounds.counts(word)


def test_what_is_right_is_taken() -> None:
    assert rounds.counts("1,100") == [1, 100]
    assert (rounds.at_least(5)("7"), rounds.seconds("0.5"), rounds.seconds_from_zero("0")) == (7, 0.5, 0.0)
