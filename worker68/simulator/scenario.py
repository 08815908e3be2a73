"""A scenario: faults that a TOML file names, from the start and in steps after it.

In: the name of one that ships with the simulator (``scenarios/``), or the path of a file. Out: faults turned at their times;
``BadScenario`` with one line for a file that cannot be used, before anything is turned. Never: a fault that is not in the table.

    words = "what it is like, in one line"
    based_on = "client-queues"      # whose faults it has too
    repeat_every = "2m"             # the steps begin again

    [faults]
    busy_sends = 3
    silence = { sendMsg = 1 }
    paging.short_by = 1

    [[steps]]
    after = "30s"                   # since the start
    clear = true                    # turn everything back first
    faults = { drop_before_answer = 1 }
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from worker68.errors import Worker68Error
from worker68.simulator.faults import Faults
from worker68.simulator.knobs import BadFault, list_knobs, parse_seconds, read_setting, turn

FOLDER: Final = Path(__file__).parent / "scenarios"

#: Names and values as they were written.
Settings = tuple[tuple[str, Any], ...]


class BadScenario(Worker68Error):
    """A scenario that is not there or cannot be used. The message is one line: which one, and what is wrong with it."""


class _Step(msgspec.Struct, forbid_unknown_fields=True):
    after: str | float
    faults: dict[str, Any] = {}
    clear: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    words: str
    based_on: str | None = None
    faults: dict[str, Any] = {}
    steps: list[_Step] = []
    repeat_every: str | float | None = None


@dataclass(frozen=True)
class Step:
    """What is turned so many seconds after the start."""

    after_seconds: float
    settings: Settings
    clear: bool = False


@dataclass(frozen=True)
class Scenario:
    """``settings`` hold from the start. ``repeat_seconds``: when the steps begin again; None: never."""

    words: str
    settings: Settings
    steps: tuple[Step, ...] = ()
    repeat_seconds: float | None = None


def list_scenarios() -> dict[str, str]:
    """Return the words of the scenarios that ship with the simulator, by name."""
    return {path.stem: load_scenario(path.stem).words for path in sorted(FOLDER.glob("*.toml"))}


def load_scenario(name_or_path: str) -> Scenario:
    """Read a scenario: a path has a slash or ends with ``.toml``, all else is a name. Raise ``BadScenario``."""
    is_path = "/" in name_or_path or name_or_path.endswith(".toml")
    path = Path(name_or_path) if is_path else FOLDER / f"{name_or_path}.toml"
    if not is_path and not path.is_file():
        names = ", ".join(sorted(one.stem for one in FOLDER.glob("*.toml")))
        raise BadScenario(f'no scenario is called "{name_or_path}"; there are {names}, and files of your own')
    try:
        file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
        return _build(file)
    except OSError as error:
        raise BadScenario(f"scenario {name_or_path}: {error.strerror}") from error
    except (BadFault, BadScenario, ValueError) as error:  # of TOML, UTF-8 and msgspec too
        raise BadScenario(f"scenario {name_or_path}: {error}") from error


def _build(file: _File) -> Scenario:
    steps = [Step(parse_seconds(one.after), _read(one.faults), one.clear) for one in file.steps]
    repeat = None if file.repeat_every is None else parse_seconds(file.repeat_every)
    if repeat is not None and (repeat == 0 or any(step.after_seconds > repeat for step in steps)):
        raise BadScenario("repeat_every is shorter than its steps take")
    steps.sort(key=lambda step: step.after_seconds)
    scenario = Scenario(file.words, _read(file.faults), tuple(steps), repeat)
    if file.based_on is None:
        return scenario
    before = load_scenario(file.based_on)
    return replace(scenario, settings=before.settings + scenario.settings)


def _read(faults: Mapping[str, Any]) -> Settings:
    """Return the settings, each of which could be turned. Raise ``BadFault``."""
    settings = tuple(_flatten(faults, ""))
    for name, value in settings:
        read_setting(Faults(), name, value)
    return settings


def _flatten(faults: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    parts = {knob.name.rpartition(".")[0] for knob in list_knobs(Faults())}
    for name, value in faults.items():
        if isinstance(value, Mapping) and prefix + name in parts:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def apply(faults: Faults, settings: Settings) -> None:
    """Turn the knobs. Raise ``BadFault``."""
    for name, value in settings:
        turn(faults, *read_setting(faults, name, value))


async def follow(scenario: Scenario, faults: Faults) -> None:
    """Turn what the scenario says, each at its time."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while True:
        for step in scenario.steps:
            await asyncio.sleep(begun + step.after_seconds - loop.time())
            if step.clear:
                faults.clear()
            apply(faults, step.settings)
        if scenario.repeat_seconds is None:
            return
        begun += scenario.repeat_seconds
        await asyncio.sleep(begun - loop.time())
