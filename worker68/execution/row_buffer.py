"""Rows on their way from the bridge to the tables, outside of memory: a list may be longer than what a worker should hold.

In: rows, page by page. Out: the same rows in their order, as often as wanted: a transaction may have to be repeated. They lie in a
temporary file without a name, so that nothing is left of a worker that dies; a short list stays in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

import msgspec

from worker68.jobs.snapshot import Row

#: Up to this much is kept in memory: most lists are shorter.
MEMORY_BYTES = 1024 * 1024
_LENGTH_BYTES = 4


class RowBuffer:
    """Rows of one type. Used by one thread at a time. Closed, it is empty for good."""

    def __init__(self, row: type[Row]) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed by its owner
        self._decoder = msgspec.msgpack.Decoder(list[row])  # type: ignore[valid-type]
        self._end = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Keep a page. Raises ``OSError`` where the disk is full."""
        packed = msgspec.msgpack.encode(rows)
        self._file.seek(self._end)
        self._file.write(len(packed).to_bytes(_LENGTH_BYTES, "big") + packed)
        self._end = self._file.tell()

    def __iter__(self) -> Iterator[Row]:
        place = 0
        while place < self._end:
            self._file.seek(place)
            size = int.from_bytes(self._file.read(_LENGTH_BYTES), "big")
            page = self._decoder.decode(self._file.read(size))
            place += _LENGTH_BYTES + size
            yield from page

    def close(self) -> None:
        self._file.close()
