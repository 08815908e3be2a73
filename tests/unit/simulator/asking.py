"""Ask the simulated bridge something, without a socket, and take its answers apart."""

from __future__ import annotations

from typing import Any

from worker68.simulator import endpoints
from worker68.simulator.requests import Answer, read_request, respond
from worker68.simulator.world import World


def ask(world: World, frame: object) -> Answer:
    return respond(world, read_request(frame))


def call(world: World, name: str, /, proto: str | None = None, **data: Any) -> Answer:
    """Call the service as the documented frames do; ``proto`` overrides the type's own protoType."""
    endpoint = endpoints.ENDPOINTS[name]
    is_group = endpoint.is_group_proto if proto is None else proto == "group"
    body = {"type": name, "url": f"https://webbiz.example{endpoint.path}", "data": data}
    return ask(world, {"id": "1", "type": "request", "data": body | ({"protoType": "group"} if is_group else {})})


def data_of(answer: Answer) -> Any:
    assert answer.body is not None
    return answer.body["data"]


def code_of(answer: Answer) -> int:
    """Return the service's code, 200 for a success."""
    code: int = data_of(answer)["commonResult"]["errCode"]
    return code


def error_of(answer: Answer) -> int:
    """Return the bridge's own code."""
    assert answer.body is not None
    code: int = answer.body["error"]["errorCode"]
    return code


def listed(world: World, group_id: int) -> dict[str, Any]:
    """Return a group as getGroups shows it."""
    groups = data_of(ask(world, {"id": "1", "type": "getGroups"}))
    found: dict[str, Any] = next(group for group in groups if group["id"] == group_id)
    return found
