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
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from weakref import WeakSet

import structlog
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from worker68.clock import Deadline, monotonic
from worker68.errors import Worker68Error
from worker68.simulator import events
from worker68.simulator.clients import Client, Clients, Overlap
from worker68.simulator.delivery import Delivery
from worker68.simulator.exchange import Exchange
from worker68.simulator.faults import Faults
from worker68.simulator.garbage import GARBAGE
from worker68.simulator.heart import Heart
from worker68.simulator.population import build_world
from worker68.simulator.queues import EventStream
from worker68.simulator.records import Journal, Received, RecordFile, Records, Sent
from worker68.simulator.replay import Replay
from worker68.simulator.requests import Kind
from worker68.simulator.scenario import Scenario, apply, follow
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
#: At a stop, between two looks at the connections that are still there.
_TURN_SECONDS: Final = 0.01


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
        self._records = Records()
        self._log_file = log_file
        self._clients = Clients()
        self._stream = EventStream(self._clients, lambda: self.faults.client, self._later)
        self._heart = Heart(self.world, self.faults, self._stream, self._later, lambda: self.heartbeat_seconds)
        self._scenarios: list[Scenario] = []
        self._replay: Replay | None = None
        self._refused_until = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def received(self) -> Journal[Received]:
        """What came in."""
        return self._records.received

    @property
    def sent(self) -> Journal[Sent]:
        """What went out to its chat."""
        return self._records.sent

    @property
    def url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._clients)

    def take_overlaps(self) -> list[Overlap]:
        """Return which connections were open at the same moment since this was last asked."""
        overlaps = self._clients.overlaps
        return [overlaps.popleft() for _ in range(len(overlaps))]

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

    def follow(self, scenario: Scenario) -> None:
        """Turn the scenario's faults now, and those of its steps at their times after the next start."""
        apply(self.faults, scenario.settings)
        self._scenarios.append(scenario)

    def replay(self, record: Replay) -> None:
        """From the next start on, answer as a record of a real bridge has it; its events begin with the first client."""
        self._replay = record

    def change(self, call: Callable[[World], T]) -> T:
        """Change the world in the simulator's thread, like ``simulator.change(lambda world: world.drop_contact(7237423))``."""
        return self._call(lambda: call(self.world))

    def emit(self, event: Json) -> int:
        """Push an unsolicited event (``simulator.events`` builds them); return how many clients it goes to."""
        return self._call(lambda: self._stream.take_in_event(event))

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
        """Let the client lose its own server: ``socketLoginout`` once it notices, no ``socketLogin`` until ``log_in``."""
        self.faults.logged_out = True
        self._call(self._heart.announce)

    def log_in(self) -> None:
        """End ``log_out``, with a ``socketLogin`` at once."""
        self.faults.logged_out = False
        self._call(self._heart.announce)

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
        exchange = self._make_exchange(replace(self._records, file=record_file))

        async def handle(connection: ServerConnection) -> None:
            client = self._clients.admit(connection)
            try:
                await self._attend(client, connection, exchange)
            finally:
                self._clients.forget(client)

        def unless_no_pong(send: Callable[[Frame], None], frame: Frame) -> None:
            """The library answers pings by itself."""
            if frame.opcode is not Opcode.PONG or not self.faults.no_pong:
                send(frame)

        begun: WeakSet[ServerConnection] = WeakSet()

        class Begun(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                begun.add(self)
                self.protocol.send_frame = partial(unless_no_pong, self.protocol.send_frame)  # type: ignore[method-assign]

        # The listener is closed by hand below: the context manager would wait for half-open handshakes first.
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
        going_on = [asyncio.create_task(self._heart.beat()), asyncio.create_task(self._heart.chatter())]
        going_on += [asyncio.create_task(follow(scenario, self.faults)) for scenario in self._scenarios]
        listening.set_result(int(server.sockets[0].getsockname()[1]))
        await self._stopping.wait()
        for task in going_on:
            task.cancel()
        # Nobody is taken in any more. The listener is closed when all are gone: asyncio loses one that it takes while it closes.
        for listener in server.sockets:
            self._loop.remove_reader(listener.fileno())
        self._clients.abort()
        # Those in their handshake are no clients yet, and one that was just taken in has no transport yet. Each has a task.
        deadline = Deadline.after(PATIENCE_SECONDS)
        while (others := asyncio.all_tasks() - {asyncio.current_task()}) and not deadline.passed:
            for connection in list(begun):
                connection.transport.abort()
            await asyncio.wait(others, timeout=_TURN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        server.close()
        await server.wait_closed()

    def _make_exchange(self, records: Records) -> Exchange:
        delivery = Delivery(
            world=self.world,
            faults=self.faults,
            stream=self._stream,
            records=records,
            later=self._later,
            verdict_delay=lambda: self.verdict_delay_seconds,
        )
        return Exchange(self.kind, self.faults, self._clients, delivery, self._restart, self._replay)

    def _later(self, seconds: float, call: Callable[[], object]) -> None:
        assert self._loop is not None
        self._loop.call_later(seconds, call)

    async def _attend(self, client: Client, connection: ServerConnection, exchange: Exchange) -> None:
        log.info("simulator_client_connected", connection=client.number)
        if not self.faults.no_hello:
            client.post(events.HELLO)
        if self._replay is not None and client.number == 1:
            for at, event in self._replay.unasked:
                self._later(at, partial(self._clients.post, event))
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
        alone = len(self._clients) == 0
        if not alone and self.faults.second_client == "replaces":
            self._clients.drop()
        refused = self.faults.refuse_connections or (not alone and self.faults.second_client == "refused")
        if refused or monotonic() < self._refused_until:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "the client is restarting\n")
        return None

    def _restart(self) -> None:
        self.refuse_connections(self.faults.restart_seconds)
        self._clients.drop()
