"""The calls of the service's API are the documented ones; what is only seen is for experimental tasks."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.parts.frames import DOCUMENTED_REQUESTS
from worker68 import tasks
from worker68.protocol import api
from worker68.protocol.api import DOCUMENTED, ApiCall
from worker68.simulator.endpoints import ENDPOINTS
from worker68.tasks import TASKS

FOLDER = Path(tasks.__file__).parent

#: By their names in the code.
CALLS = {name: value for name, value in vars(api).items() if isinstance(value, ApiCall)}


def calls_of(module: str) -> set[str]:
    """Return the names of the calls that a task may make: in its own file, and in those of the other tasks that it imports."""
    source = (FOLDER / f"{module}.py").read_text()
    others = re.findall(r"^from worker68\.tasks\.(\w+) import", source, re.MULTILINE)
    named = set(re.findall(r"\bapi\.([A-Z_]+)\b", source)) & CALLS.keys()
    return named.union(*map(calls_of, others))


def test_what_is_called_documented_are_the_calls_of_the_documented_frames() -> None:
    asked = [frame["data"] for frame in DOCUMENTED_REQUESTS.values() if frame["type"] == "request"]
    documented = {(data["type"], urlsplit(data["url"]).path, data.get("protoType")) for data in asked}
    assert {(call.type, path, call.proto_type) for path, call in DOCUMENTED.items()} == documented


@pytest.mark.parametrize("name", CALLS)
def test_the_simulator_knows_each_call_and_whether_it_changes_something(name: str) -> None:
    call = CALLS[name]
    endpoint = ENDPOINTS[call.type]
    assert (call.path, call.changes, call.proto_type == "group") == (
        endpoint.path,
        endpoint.changes,
        endpoint.is_group_proto,
    )


def test_what_is_seen_alone_is_called_by_experimental_tasks_alone() -> None:
    makers: dict[str, set[str]] = {
        name: {task for task in TASKS if name in calls_of(task.removeprefix("worker68."))}
        for name, call in CALLS.items()
        if call.path not in DOCUMENTED
    }
    assert all(makers.values()), "each is called by some task"
    assert {task for some in makers.values() for task in some if not TASKS[task].experimental} == set()
