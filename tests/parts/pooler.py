"""A strict transaction pooler for PostgreSQL: each transaction of a client meets another session, and a clean one.

In: the URL of a database on a Unix socket. Out: a URL that leads there through few sessions. After each transaction the session is
reset (``DISCARD ALL``) and goes to the end of the queue, so that the next transaction meets another one. Never: a startup parameter
that PgBouncer refuses by default.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import struct
import threading
from types import TracebackType
from typing import Final, Self

from sqlalchemy import make_url

from tests.parts.listener import Listener

_PROTOCOL_3: Final = 196608
_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
#: Those that PgBouncer passes on. It refuses others, such as ``options``.
_ALLOWED: Final = {"user", "database", "client_encoding", "application_name"}
_CHUNK: Final = 65536


class TransactionPooler:
    """Use as a context manager. ``sessions``: how many there are for all clients."""

    def __init__(self, database_url: str, sessions: int = 3) -> None:
        url = make_url(database_url)
        self._socket_path = os.path.join(str(url.query["host"]), ".s.PGSQL.5432")
        self._startup = {"user": url.username or "", "database": url.database or "", "client_encoding": "UTF8"}
        self._listener = Listener(self._serve)
        here = url.difference_update_query(["host"]).set(host="127.0.0.1", port=self._listener.port)
        self.url = here.render_as_string(False)
        self._idle: queue.Queue[_Session | None] = queue.Queue()
        self._sessions = sessions
        for _ in range(sessions):
            self._idle.put(None)  # opened when it is needed
        self._lock = threading.Lock()  # guards the next two
        self._open: set[socket.socket] = set()
        self.transactions = 0

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop()
        with self._lock:
            for one in self._open:
                _close(one)
        for _ in range(self._sessions):
            session = self._idle.get(timeout=60)  # each thread that serves gives its one back
            if session is not None:
                _close(session.socket)

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._open.add(client)
        try:
            if self._greet(client):
                while select.select([client], [], []) and client.recv(1, socket.MSG_PEEK) not in (b"", b"X"):
                    self._run_transaction(client)
        except (OSError, ValueError):
            pass  # the client has gone, or the server, or the test is over
        finally:
            with self._lock:
                self._open.discard(client)
            _close(client)

    def _greet(self, client: socket.socket) -> bool:
        while True:
            (size,) = struct.unpack("!i", _read(client, 4))
            packet = _read(client, size - 4)
            (code,) = struct.unpack("!i", packet[:4])
            if code not in (_SSL_REQUEST, _GSS_REQUEST):
                break
            client.sendall(b"N")
        assert code == _PROTOCOL_3, code
        words = packet[4:].rstrip(b"\0").split(b"\0")
        refused = {word.decode() for word in words[::2]} - _ALLOWED
        if refused:
            client.sendall(_error("08P01", f"unsupported startup parameter: {', '.join(sorted(refused))}"))
            return False
        session = self._take()
        try:
            client.sendall(session.welcome)
        finally:
            self._idle.put(session)
        return True

    def _run_transaction(self, client: socket.socket) -> None:
        """Join the client and a session until a transaction has ended, then make the session as if new."""
        session = self._take()
        try:
            while True:
                readable, _, _ = select.select([client, session.socket], [], [])
                if client in readable:
                    data = client.recv(_CHUNK)
                    if not data:
                        raise ConnectionError("the client left within a transaction")
                    session.socket.sendall(data)
                if session.socket in readable:
                    data, ended = session.receive()
                    client.sendall(data)
                    if ended:
                        break
            session.ask("DISCARD ALL")
            with self._lock:
                self.transactions += 1
        except OSError:
            _close(session.socket)
            self._idle.put(None)
            raise
        self._idle.put(session)

    def _take(self) -> _Session:
        session = self._idle.get()
        if session is not None and not session.gone:
            return session
        try:
            return _Session(self._socket_path, self._startup)
        except OSError:
            self._idle.put(None)
            raise


class _Session:
    """One session of the server's. ``welcome`` is what the server says to a new client."""

    def __init__(self, path: str, startup: dict[str, str]) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        words = b"".join(f"{name}\0{value}\0".encode() for name, value in startup.items())
        packet = struct.pack("!i", _PROTOCOL_3) + words + b"\0"
        self.socket.sendall(struct.pack("!i", len(packet) + 4) + packet)
        self._rest = b""
        self.welcome = self._until_ready()

    @property
    def gone(self) -> bool:
        """Whether the server has ended this session while it was idle."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def ask(self, statement: str) -> None:
        query = statement.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(query) + 4) + query)
        self._until_ready()

    def receive(self) -> tuple[bytes, bool]:
        """Return what came, and whether the last of it says that no transaction is open."""
        data = self.socket.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server has ended the session")
        self._rest += data
        ended = False
        while len(self._rest) >= 5:
            end = 1 + struct.unpack("!i", self._rest[1:5])[0]
            if len(self._rest) < end:
                break
            ended = self._rest[:1] == b"Z" and self._rest[5:6] == b"I"
            self._rest = self._rest[end:]
        return data, ended and not self._rest

    def _until_ready(self) -> bytes:
        said = b""
        while True:
            data, ended = self.receive()
            said += data
            if ended:
                return said


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        if not more:
            raise ConnectionError("the client has gone")
        data += more
    return data


def _error(code: str, words: str) -> bytes:
    fields = b"".join(key + value.encode() + b"\0" for key, value in ((b"S", "FATAL"), (b"C", code), (b"M", words)))
    return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"


def _close(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it was closed before
    one.close()
