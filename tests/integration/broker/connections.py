"""The connections to a Redis as an operator sees them, by the names that they have given themselves."""

from __future__ import annotations

import redis


def client_id(client: redis.Redis, name: str) -> str:
    """Return the number of the one connection of this name."""
    (found,) = [c["id"] for c in client.client_list() if c["name"] == name]
    return found


def kill(client: redis.Redis, name: str) -> None:
    """Let the server close the connection of this name."""
    client.client_kill_filter(_id=client_id(client, name), skipme=False)
