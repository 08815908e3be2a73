"""What the simulator has seen and done, for a test to look at and, as JSON lines in a file, for other processes.

In: records from the simulator's thread. Out: the same records, to any thread. Unlike a log, they hold message text: they are what
a test compares. The times are CLOCK_MONOTONIC seconds, the same for all processes of a machine.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import msgspec

from worker68.clock import Deadline
from worker68.simulator.world import ChatType

#: A benchmark's worth of frames, a few hundred megabytes at most; older records make room.
KEPT_RECORDS: Final = 200_000


class Received(msgspec.Struct, frozen=True, tag_field="record", tag="received"):
    """One frame from a client. ``connection`` counts from 1; ``problem`` says why there was no answer."""

    at: float
    connection: int
    frame: Any
    problem: str | None = None


class Sent(msgspec.Struct, frozen=True, tag_field="record", tag="sent"):
    """One message that went out to its chat; one that the service refused is not here. ``text`` as the chat reads it."""

    at: float
    connection: int
    chat_type: ChatType
    chat_id: int
    text: str
    custom_msg_id: str
    message_id: int
    content_type: int


Record = TypeVar("Record", Received, Sent)


class Journal(Generic[Record]):
    """A bounded list that one thread fills and others read or wait on. The condition's lock guards it; reading gives a copy."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._records: deque[Record] = deque(maxlen=KEPT_RECORDS)

    def append(self, record: Record) -> None:
        with self._changed:
            self._records.append(record)
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._records.clear()

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.copy())

    def __getitem__(self, index: int) -> Record:
        with self._changed:
            return self._records[index]

    def copy(self) -> list[Record]:
        with self._changed:
            return list(self._records)

    def wait_for(self, condition: Callable[[Self], bool], *, timeout_seconds: float = 10.0) -> None:
        """Wait until ``condition`` holds of this journal. Raise ``TimeoutError`` when it does not in time."""
        deadline = Deadline.after(timeout_seconds)
        with self._changed:
            while not condition(self):
                if not self._changed.wait(deadline.remaining()) and deadline.passed:
                    raise TimeoutError(f"not so within {timeout_seconds} s; {len(self)} records")


@dataclass(frozen=True)
class Records:
    """What came in and what went out, in memory and, where there is a file, there too."""

    received: Journal[Received] = field(default_factory=lambda: Journal[Received]())
    sent: Journal[Sent] = field(default_factory=lambda: Journal[Sent]())
    file: RecordFile | None = None

    def note(self, record: Received | Sent) -> None:
        if isinstance(record, Received):
            self.received.append(record)
        else:
            self.sent.append(record)
        if self.file is not None:
            self.file.write(record)


class RecordFile:
    """A file that gets each record as one line of JSON, with one unbuffered write, after what is already in it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, record: Received | Sent) -> None:
        self._file.write(msgspec.json.encode(record) + b"\n")

    def close(self) -> None:
        self._file.close()
