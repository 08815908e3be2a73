"""A SIMULATOR of a 68 bridge: it speaks the bridge's protocol, holds a small world, and no message reaches anybody.

In: WebSocket clients, and a test that turns ``faults``. Out: replies, events, records of all that came in and went out. It runs
in a thread of its own with an event loop of its own. On the wire it does not differ from a bridge; in its log and on the
console it says what it is. Needs the ``simulator`` extra (websockets).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from weakref import WeakSet

import structlog
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from worker68.clock import monotonic
from worker68.errors import Worker68Error
from worker68.simulator import events
from worker68.simulator.clients import Client, Clients
from worker68.simulator.exchange import Exchange
from worker68.simulator.faults import Faults
from worker68.simulator.garbage import GARBAGE
from worker68.simulator.population import build_world
from worker68.simulator.records import Journal, Received, RecordFile, Sent
from worker68.simulator.sends import Kind
from worker68.simulator.shapes import Json
from worker68.simulator.world import World

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: The bridge's own rhythm (PROTOCOL.md, doc).
HEARTBEAT_SECONDS: Final = 3.0
#: What a real verdict takes: a few tenths of a second.
VERDICT_DELAY_SECONDS: Final = 0.2
#: The largest frame taken from a client: above what any test sends on purpose; more closes the connection (1009).
LARGEST_FRAME_BYTES: Final = 16 * 1024 * 1024
#: Starting, stopping and calls into the thread take milliseconds; so long only when something hangs.
PATIENCE_SECONDS: Final = 10.0


class SimulatorNotStarted(Worker68Error):
    """The simulator cannot listen where it should. The message says why: choose another port or host."""


class Simulator:
    """A bridge to develop and test against. Every method and attribute may be used from any thread.

    ``heartbeat_seconds`` and ``verdict_delay_seconds`` may be set at run time and count from the next heartbeat, the next send.
    ``faults`` holds what is to go wrong; ``received`` and ``sent`` what came in and what went out; ``world`` may be read while
    the simulator runs, but is its thread's to change (``change``).
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        kind: Kind = "new",
        world: World | None = None,
        faults: Faults | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        verdict_delay_seconds: float = VERDICT_DELAY_SECONDS,
        log_file: Path | None = None,
    ) -> None:
        """Prepare, listen nowhere yet. ``log_file`` gets a line of JSON for each record, message text included."""
        self.host = host
        self.port = port
        self.kind: Kind = kind
        self.world = world or build_world()
        self.faults = faults or Faults()
        self.heartbeat_seconds = heartbeat_seconds
        self.verdict_delay_seconds = verdict_delay_seconds
        self.received: Journal[Received] = Journal()
        self.sent: Journal[Sent] = Journal()
        self._log_file = log_file
        self._clients = Clients()
        self._refused_until = 0.0
        self._logout_announced = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._clients)

    def start(self) -> Self:
        """Return when clients can connect; a second start after a stop takes the same port. Raise ``SimulatorNotStarted``."""
        if self._thread is not None:
            return self
        record_file = self._open_record_file()
        listening: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=self._run, args=(listening, record_file), name="bridge-simulator", daemon=True
        )
        self._thread.start()
        try:
            self.port = listening.result(PATIENCE_SECONDS)
        except (OSError, OverflowError) as error:
            self._thread.join(PATIENCE_SECONDS)
            self._thread = None
            reason = getattr(error, "strerror", None) or error
            raise SimulatorNotStarted(
                f"the simulator cannot listen on {self.host}:{self.port}: {reason}; choose another port"
            ) from error
        log.info(
            "simulator_started", url=self.url, kind=self.kind, note="this is a simulator: no message reaches anybody"
        )
        return self

    def stop(self) -> None:
        """Cut all connections and return when the port is free. Does nothing when it is not running."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join(PATIENCE_SECONDS)
        log.info("simulator_stopped", url=self.url)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run_forever(self) -> None:
        """Start, say so on standard output, and return after SIGINT or SIGTERM. For a process with no other threads yet."""
        # Waiting with the signals blocked: a handler that sets an Event can come while the Event's own lock is held.
        to_wait_for = {signal.SIGINT, signal.SIGTERM}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, to_wait_for)
        try:
            with self:
                print(f"68 bridge SIMULATOR ({self.kind} kind), no message reaches anybody: {self.url}", flush=True)
                signal.sigwait(to_wait_for)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def change(self, call: Callable[[World], T]) -> T:
        """Change the world in the simulator's thread, like ``simulator.change(lambda world: world.drop_contact(7237423))``."""
        return self._call(lambda: call(self.world))

    def emit(self, event: Json) -> int:
        """Push an unsolicited event (``simulator.events`` builds them); return how many clients it went to."""
        return self._call(lambda: self._clients.post(event))

    def send_garbage(self, *kinds: str) -> int:
        """Push meaningless frames, by their names in ``garbage.GARBAGE``; return how many clients they went to."""
        payloads = [GARBAGE[kind]() for kind in kinds]
        return self._call(lambda: max(map(self._clients.post_garbage, payloads), default=0))

    def drop_connections(self) -> int:
        """Cut every connection without a closing handshake; return how many there were."""
        return self._call(self._clients.drop)

    def refuse_connections(self, seconds: float) -> None:
        """Answer every WebSocket handshake with 503 for a while."""
        self._refused_until = monotonic() + seconds

    def log_out(self) -> None:
        """Let the client lose its own server: ``socketLoginout`` at once, no ``socketLogin`` until ``log_in``."""
        self.faults.logged_out = True
        self._call(self._announce_network)

    def log_in(self) -> None:
        """End ``log_out``, with a ``socketLogin`` at once."""
        self.faults.logged_out = False
        self._call(self._announce_network)

    def _call(self, call: Callable[[], T]) -> T:
        """Run a call in the simulator's thread and wait for it."""
        if self._thread is None or self._loop is None:
            raise RuntimeError("the simulator is not running")

        async def run() -> T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE_SECONDS)

    def _open_record_file(self) -> RecordFile | None:
        try:
            return RecordFile(self._log_file) if self._log_file else None
        except OSError as error:
            raise SimulatorNotStarted(f"the simulator cannot write {self._log_file}: {error.strerror}") from error

    def _run(self, listening: concurrent.futures.Future[int], record_file: RecordFile | None) -> None:
        try:
            asyncio.run(self._serve(listening, record_file))
        except (OSError, OverflowError) as error:
            if listening.done():
                raise
            listening.set_exception(error)
        finally:
            if record_file is not None:
                record_file.close()

    async def _serve(self, listening: concurrent.futures.Future[int], record_file: RecordFile | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        exchange = self._make_exchange(self._loop, record_file)

        async def handle(connection: ServerConnection) -> None:
            client = self._clients.admit(connection)
            try:
                await self._attend(client, connection, exchange)
            finally:
                self._clients.forget(client)

        begun: WeakSet[ServerConnection] = WeakSet()

        class Begun(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                begun.add(self)

        # The listener is closed by hand below: the context manager would wait for half-open handshakes.
        server = await serve(
            handle,
            self.host,
            self.port,
            process_request=self._admit,
            create_connection=Begun,
            compression=None,
            ping_interval=None,
            max_size=LARGEST_FRAME_BYTES,
        )
        heart = asyncio.create_task(self._beat())
        listening.set_result(int(server.sockets[0].getsockname()[1]))
        await self._stopping.wait()
        server.close(close_connections=False)
        heart.cancel()
        self._clients.abort()
        # Those in their handshake are no clients yet. What the listener takes in its last turn of the loop has begun three later.
        for _ in range(4):
            await asyncio.sleep(0)
            for connection in list(begun):
                connection.transport.abort()
        await asyncio.sleep(0)

    def _make_exchange(self, loop: asyncio.AbstractEventLoop, record_file: RecordFile | None) -> Exchange:
        def later(seconds: float, call: Callable[[], None]) -> None:
            loop.call_later(seconds, call)

        return Exchange(
            world=self.world,
            faults=self.faults,
            kind=self.kind,
            clients=self._clients,
            received=self.received,
            sent=self.sent,
            record_file=record_file,
            later=later,
            verdict_delay=lambda: self.verdict_delay_seconds,
            restart=self._restart,
        )

    async def _attend(self, client: Client, connection: ServerConnection, exchange: Exchange) -> None:
        log.info("simulator_client_connected", connection=client.number)
        if not self.faults.no_hello:
            client.post(events.HELLO)
        try:
            async for raw in connection:
                # What a cut client wrote before it knew is lost with the bridge.
                if client.is_cut:
                    break
                exchange.take(client, raw)
        except ConnectionClosed:
            pass
        log.info("simulator_client_gone", connection=client.number)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.faults.refuse_connections or monotonic() < self._refused_until:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "the client is restarting\n")
        return None

    def _restart(self) -> None:
        self.refuse_connections(self.faults.restart_seconds)
        self._clients.drop()

    async def _beat(self) -> None:
        while True:
            self._announce_network()
            await asyncio.sleep(self.heartbeat_seconds)

    def _announce_network(self) -> None:
        if self.faults.logged_out:
            if not self._logout_announced:
                self._clients.post(events.NETWORK_DOWN)
            self._logout_announced = True
            return
        self._logout_announced = False
        if not self.faults.no_heartbeat:
            self._clients.post(events.NETWORK_UP)
