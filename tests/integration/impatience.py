"""A client of Redis that waits only a moment for a server that is silent, and as long as ever for one that answers."""

from __future__ import annotations

import redis

#: How long a test waits for an answer that does not come.
SILENCE_SECONDS = 1.0


def be_impatient(client: redis.Redis) -> None:
    """Let the client's one open connection wait for a moment only. The next one, which a timeout calls for, is patient again."""
    connection = client.connection_pool.get_connection()
    connection.update_current_socket_timeout(SILENCE_SECONDS)
    client.connection_pool.release(connection)
