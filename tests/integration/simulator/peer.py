"""A client to look at the simulator with: a real WebSocket, by another library than the worker's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from worker68.clock import Deadline
from worker68.simulator import Simulator
from worker68.simulator.endpoints import ENDPOINTS
from worker68.simulator.population import MANAGED_GROUP

#: Far above what anything here takes: only a failure waits so long.
TIMEOUT_SECONDS = 60.0


class Peer:
    """One connection. ``frames`` holds every JSON frame read so far, in order, heartbeats aside."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._asked = 0
        self.frames: list[dict[str, Any]] = []

    def write(self, raw: str | bytes) -> None:
        self._connection.send(raw)

    def request(self, type_: str, data: object = None, **top: Any) -> str:
        """Write a request and return its id."""
        self._asked += 1
        request_id = str(self._asked)
        frame = {"id": request_id, "type": type_, **top} | ({} if data is None else {"data": data})
        self.write(json.dumps(frame))
        return request_id

    def ask(self, type_: str, data: object = None, **top: Any) -> dict[str, Any]:
        """Write a request and return its reply."""
        request_id = self.request(type_, data, **top)
        return self.read_until(lambda frame: str(frame.get("id")) == request_id)

    def call(self, name: str, **data: Any) -> dict[str, Any]:
        """Call the chat service through the bridge."""
        url = f"https://webbiz.example{ENDPOINTS[name].path}"
        return self.ask("request", {"type": name, "protoType": "group", "url": url, "data": data})

    def send(self, text: str, chat_id: int = MANAGED_GROUP, **extra: Any) -> str:
        """Write a group message and return the request's id."""
        items = [{"type": "text", "values": {"chatType": 0, "content": text}}]
        return self.request("sendMsg", {"id": chat_id, "type": "group", "list": items, "quoteInfo": None, **extra})

    def read(self) -> str | bytes:
        """Return the next frame of any kind, as it came."""
        return self._connection.recv(TIMEOUT_SECONDS)

    def read_until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read JSON frames until one fits, and return it."""
        deadline = Deadline.after(TIMEOUT_SECONDS)
        while not deadline.passed:
            frame: Any = json.loads(self._connection.recv(deadline.remaining()))
            if isinstance(frame, list) or frame.get("operator") != "network":  # a list: events of one moment
                self.frames.append(frame)
            if is_it(frame):
                found: dict[str, Any] = frame
                return found
        raise TimeoutError("no such frame")

    def verdict(self) -> dict[str, Any]:
        """Read until the next verdict and return its one entry."""
        found = self.read_until(lambda frame: frame.get("operator") == "msgListPropertyUpdate")
        (entry,) = found["data"]["list"]
        return dict(entry)

    def echo(self) -> dict[str, Any]:
        found = self.read_until(lambda frame: frame.get("operator") == "msgNew" and frame["data"].get("isSelf") is True)
        return dict(found["data"])

    def catch_up(self) -> list[dict[str, Any]]:
        """Ask for something harmless; return all frames that came before its reply and have not been read yet."""
        known = len(self.frames)
        self.ask("getApiUrl")
        return self.frames[known:-1]

    def read_to_the_end(self) -> None:
        """Read until the connection is gone: raises what the library raises then."""
        while True:
            self.read()


@contextmanager
def connected(simulator: Simulator) -> Iterator[Peer]:
    """Connect and read the Hello."""
    with connect(simulator.url, compression=None, max_size=None, close_timeout=1) as connection:
        peer = Peer(connection)
        if not simulator.faults.no_hello:
            assert peer.read_until(lambda frame: True) == {"message": "Hello"}
        yield peer


def mute(peer: Peer, *, muted: bool = True) -> dict[str, Any]:
    """Mute a group for all its members, or lift that; return the reply."""
    return peer.call("GroupUpdate", op=11, groupParam={"shutup": muted, "groupId": MANAGED_GROUP})


def texts(simulator: Simulator) -> list[str]:
    """Return the texts that went out."""
    return [sent.text for sent in simulator.sent]


def kinds_of(frames: list[dict[str, Any]]) -> list[str]:
    """Name the frames of a send: reply, error, verdict and its number, echo."""

    def name(frame: dict[str, Any]) -> str:
        if frame.get("operator") == "msgListPropertyUpdate":
            return f"verdict {frame['data']['readStatus']}"
        if frame.get("operator") == "msgNew":
            return "echo"
        return "error" if "error" in frame else "reply"

    return [name(frame) for frame in frames]
