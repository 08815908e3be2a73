"""Scenarios: files of faults, those that ship and those of one's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from worker68.simulator import Faults
from worker68.simulator.scenario import (
    FOLDER,
    BadScenario,
    Scenario,
    Step,
    apply,
    follow,
    list_scenarios,
    load_scenario,
)

WHOLE = """
words = "all that a file may hold"
based_on = "client-queues"
repeat_every = "2m"

[faults]
busy_sends = 3
silence = { sendMsg = 1 }
refusal = { errorCode = 7 }
paging.short_by = 2

[faults.client]
out_gap_seconds = "1s"

[[steps]]
after = "60s"
clear = true

[[steps]]
after = "30s"
faults = { drop_before_answer = 1 }
"""


def write(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_those_that_ship_can_be_loaded_and_have_words() -> None:
    scenarios = list_scenarios()
    assert {"busy-evening", "client-queues", "bad-connection"} == set(scenarios)
    assert all(scenarios.values())
    for name in scenarios:
        scenario = load_scenario(name)
        for settings in (scenario.settings, *(step.settings for step in scenario.steps)):
            apply(Faults(), settings)


def test_they_are_files_of_the_package() -> None:
    """What is not named in pyproject.toml is not in a wheel."""
    root = FOLDER.parents[2]
    assert 'simulator/scenarios/*.toml"' in (root / "pyproject.toml").read_text(encoding="utf-8")


def test_client_queues_sets_what_is_reported_of_a_real_client() -> None:
    faults = Faults()
    apply(faults, load_scenario("client-queues").settings)
    client = faults.client
    assert (client.out_gap_seconds, client.in_gap_seconds, client.give_up_seconds) == (0.1, 0.08, 15.0)
    assert (client.logout_delay_seconds, client.batch_seconds) == (9.0, 0.16)
    assert client.pending_echo
    assert client.drops_code


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, WHOLE))
    faults = Faults()
    apply(faults, scenario.settings)
    assert (faults.busy_sends.left, faults.refusal, faults.paging.short_by) == (3, {"errorCode": 7}, 2)
    assert (faults.client.out_gap_seconds, faults.client.in_gap_seconds) == (1.0, 0.08), "its own before the other's"
    assert [(step.after_seconds, step.clear) for step in scenario.steps] == [(30.0, False), (60.0, True)]
    assert scenario.repeat_seconds == 120.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("words = ", "own.toml"),
        ("", "`words`"),
        ('words = "x"\nfualts = {}', "fualts"),
        ('words = "x"\n[faults]\nbussy = 1', 'no fault is called "bussy"'),
        ('words = "x"\n[faults.paging]\nshort = 1', 'no fault is called "paging.short"'),
        ('words = "x"\n[faults]\nbusy_sends = "x"', "busy_sends"),
        ('words = "x"\nbased_on = "nothing"', 'no scenario is called "nothing"'),
        ('words = "x"\n[[steps]]\nafter = "soon"', "soon"),
        ('words = "x"\n[[steps]]\nfaults = {}', "after"),
        ('words = "x"\nrepeat_every = "1s"\n[[steps]]\nafter = "2s"', "repeat_every is shorter than"),
        ('words = "x"\nrepeat_every = 0', "repeat_every is shorter than"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadScenario) as caught:
        load_scenario(write(tmp_path, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing/file.toml", "missing.toml"])
def test_a_file_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(BadScenario, match=f"{name}: No such file"):
        load_scenario(name)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadScenario, match=r"own\.toml"):
        load_scenario(str(path))


def test_a_scenario_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(BadScenario, match='no scenario is called "evening"; there are bad-connection, busy-evening'):
        load_scenario("evening")


def test_steps_are_taken_in_order_and_again() -> None:
    faults = Faults()
    steps = (Step(0.0, (("busy_sends", 1),)), Step(0.001, (("no_echo", True),), clear=True))
    scenario = Scenario("x", (), steps, repeat_seconds=0.002)

    async def run() -> None:
        following = asyncio.create_task(follow(scenario, faults))
        for _ in range(2):
            while not faults.busy_sends.left:
                await asyncio.sleep(0)
            while not (faults.no_echo and not faults.busy_sends.left):
                await asyncio.sleep(0)
        following.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_scenario_without_a_repeat_ends() -> None:
    faults = Faults()
    asyncio.run(asyncio.wait_for(follow(Scenario("x", (), (Step(0.0, (("no_echo", True),)),)), faults), 60))
    assert faults.no_echo
