"""A TLS server that passes everything on to a plain one on 127.0.0.1: a bridge behind ``wss``.

In: the port of a server. Out: a port that speaks TLS, and the certificate that a client must trust. Never: a byte changed.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 65536


def make_certificate(folder: Path, *, subject: str = "IP:127.0.0.1", expired: bool = False) -> tuple[Path, Path]:
    """Make a key and a certificate that is signed with it; return their files."""
    key, certificate, request, extensions = (folder / name for name in ("key.pem", "certificate.pem", "csr", "ext"))
    extensions.write_text(f"subjectAltName={subject}\n")
    ask = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=worker68 test", "-keyout", key, "-out", request]
    sign = ["x509", "-req", "-in", request, "-signkey", key, "-days", "-1" if expired else "2"]
    for words in (ask, [*sign, "-extfile", extensions, "-out", certificate]):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=180)
    return key, certificate


class TlsProxy:
    """Use as a context manager. One loop on a thread of its own: two threads at one TLS connection would break it."""

    def __init__(self, target_port: int, key: Path, certificate: Path) -> None:
        self._target_port = target_port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break every connection now, without a word."""
        self._loop.call_soon_threadsafe(self._abort)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._context)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _stop(self) -> None:
        self._server.close()
        self._abort()
        while self._open:
            await asyncio.sleep(0.001)

    def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, target_writer}
        self._open |= pair
        ways = [asyncio.ensure_future(_copy(*way)) for way in ((reader, target_writer), (target_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for one in pair:
            one.transport.abort()
        await asyncio.wait(ways)
        self._open -= pair


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
