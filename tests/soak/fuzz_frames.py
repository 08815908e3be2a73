"""Feeds mutated frames to what reads a bridge's words, and stops at the first that breaks a rule.

    python -m tests.soak.fuzz_frames --minutes 60 [--seed N]

In: for how long, and a seed. Out: a report in lines, and exit code 0 only if no rule was broken; else 1, with the input in a file.
Nothing is started, and nothing is written elsewhere. The rules:

- ``split``, ``decode`` and ``decode_large`` never raise. An event that is passed on is JSON that any reader takes.
- ``read_data`` raises nothing but ValueError, and what it returns can be stored.
- A correlation takes every frame; only the calls that it waits for are settled, each once.
- ``FrameReader`` raises nothing but its two errors, and what it returns does not depend on the portions in which bytes come.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from worker68.bridge.calls import Pending, SendTerms
from worker68.bridge.connection import FrameReader, MessageTooLarge, ProtocolViolation, Received
from worker68.bridge.correlation import Correlation, Settled
from worker68.bridge.frames import Event, Notice, Reply, decode, decode_large, read_data
from worker68.bridge.inbox import split
from worker68.bridge.tally import Tally
from worker68.clock import Deadline, monotonic
from worker68.jobs.fields import Chat

FIXTURES: Final = Path(__file__).parents[1] / "fixtures" / "protocol"

#: So many rounds between two looks at the clock.
ROUNDS: Final = 200
REPORT_SECONDS: Final = 60.0
#: Larger ones would make few rounds; what is long is tested by itself.
LONGEST_BYTES: Final = 64 * 1024
STREAM_LIMIT: Final = 100_000

#: What a decoder trips over, put anywhere into a frame.
TOKENS: Final = [
    *(
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b'"\\ud800"',
        b'"\\u0000"',
        b"\\",
        b'"',
    ),
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"9" * 400,
        b"[" * 2000,
        b'{"a":' * 300,
        b"]" * 50,
        b"\n",
        b" " * 50,
    ),
    *(b'"id":', b'"operator":"network",', b'"operator":"__batch__",', b'"error":{"errorCode":300},', b'"readStatus":0'),
    *(
        b'"list":[null,7,{}],',
        b'"customMsgId":',
        b'"10000000001"',
        b'"r1"',
        b'"message":"Hello"',
        b"18446744073709551616",
    ),
]


@dataclass
class Broken(Exception):
    """A rule was broken by this input."""

    rule: str
    raw: bytes


@dataclass
class Report:
    """What was done: messages, and the kinds of frames that were made of them; the message that took longest."""

    messages: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    slowest_seconds: float = 0.0
    slowest: bytes = b""

    def lines(self, seconds: float) -> Iterator[str]:
        pace = self.messages / max(seconds, 1e-9)
        yield f"{self.messages} messages and {self.streams} streams in {seconds:.0f} s, {pace:.0f} messages a second"
        yield "frames made of them: " + ", ".join(f"{kind} {count}" for kind, count in self.kinds.most_common())
        yield f"the slowest took {self.slowest_seconds * 1000:.1f} ms of CPU: {len(self.slowest)} bytes, {self.slowest[:60]!r}"
        yield f"memory at its most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"


def read_seeds() -> list[bytes]:
    """Return every frame of the fixtures, as a bridge writes it, with ids that a correlation here may wait for."""
    found: list[Any] = []
    for path in sorted(FIXTURES.glob("*.json")):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            found += [entry[key] for key in ("reply", "frame") if entry.get(key) is not None]
    seeds = [json.dumps(one, ensure_ascii=False).encode() for one in found]
    return [*seeds, b'{"id":"r1","type":"request","data":{"commonResult":{"errCode":200},"members":[]}}']


def mutate(dice: random.Random, seeds: list[bytes]) -> bytes:
    """Return a frame with some damage; now and then none."""
    raw = bytearray(dice.choice(seeds))
    for _ in range(dice.choice((0, 1, 1, 2, 3, 5, 10))):
        place, length = dice.randrange(len(raw) + 1), dice.choice((1, 1, 2, 8, 40))
        match dice.randrange(8):
            case 0:
                del raw[place:]
            case 1:
                del raw[place : place + length]
            case 2:
                raw[place:place] = dice.choice(TOKENS)
            case 3:
                raw[place : place + length] = dice.choice(TOKENS)
            case 4 if raw:
                raw[place % len(raw)] ^= 1 << dice.randrange(8)
            case 5:
                raw[place:place] = raw[place : place + length * 8] * dice.choice((1, 3))
            case 6:
                other = dice.choice(seeds)
                raw[place : place + length] = other[dice.randrange(len(other)) :][: dice.choice((10, 100, 5000))]
            case 7:
                raw[place:place] = dice.randbytes(length)
    return bytes(raw[:LONGEST_BYTES])


def check_message(raw: bytes) -> list[str]:
    """Hold a message against the rules; return the kinds of frames that were made of it. Raise ``Broken``."""
    parts = _holds("split raises nothing", raw, lambda: split(raw))
    return [check_frame(part, raw) for part in parts or [raw]]


def check_frame(frame_bytes: bytes, raw: bytes) -> str:
    """Hold a frame against the rules; return the kind that was made of it. Raise ``Broken`` with the message ``raw``."""
    pendings = [
        Pending("r1"),
        Pending("r2", SendTerms("10000000001", Chat("group", 389284), frozenset({"hello"}), "verdict", 1)),
    ]
    correlation = Correlation("auto", Tally(), max_pending=10)
    for pending in pendings:
        correlation.add(pending)
        correlation.note_written(pending, 0.0)
    frame = _holds("decode raises nothing", raw, lambda: decode(frame_bytes))
    large = _holds("decode_large raises nothing", raw, lambda: decode_large(frame_bytes, {"r1": Any}))
    for one in [frame, *large]:
        if isinstance(one, Event | Notice):
            _holds("an event is JSON", raw, lambda one=one: json.loads(one.raw.decode()))  # type: ignore[misc]
        if isinstance(one, Reply):
            _check_reply(one, raw)
    settled = []
    for now in (1.0, 2.0):
        events = _holds("a correlation takes every frame", raw, lambda now=now: correlation.receive(frame, now))  # type: ignore[misc]
        settled += [event.pending for event in events if isinstance(event, Settled)]
    if len(settled) != len({id(one) for one in settled}) or any(one not in pendings for one in settled):
        raise Broken("a call is settled once", raw)
    return type(frame).__name__


def _check_reply(reply: Reply, raw: bytes) -> None:
    try:
        data, error = read_data(reply)
    except ValueError:
        return
    except Exception as fault:
        raise Broken(f"read_data raises ValueError or nothing: {fault!r}", raw) from fault
    _holds("what a reply holds can be stored", raw, lambda: msgspec.json.decode(msgspec.json.encode([data, error])))


def _holds(rule: str, raw: bytes, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        raise Broken(f"{rule}: {error!r}", raw) from error


def make_stream(dice: random.Random, seeds: list[bytes]) -> bytes:
    """Return the bytes of some WebSocket frames of a server, some of them damaged."""
    stream = bytearray()
    for _ in range(dice.randrange(1, 6)):
        payload = dice.choice(seeds)[: dice.choice((0, 5, 125, 126, 5000))]
        opcode, final = dice.choice((1, 1, 1, 2, 0, 8, 9, 10)), dice.choice((0x80, 0x80, 0x80, 0))
        length = len(payload)
        head = bytes([length]) if length < 126 else struct.pack("!BH", 126, length)
        if dice.random() < 0.1:
            head = struct.pack("!BQ", 127, dice.choice((length, 10**12, 2**63 - 1)))
        stream += bytes([final | opcode]) + head + payload
    if stream and dice.random() < 0.3:
        stream[dice.randrange(len(stream))] ^= 1 << dice.randrange(8)
    return bytes(stream)


def check_stream(dice: random.Random, raw: bytes) -> None:
    """Hold a stream against the rules. Raise ``Broken``."""
    cuts = sorted(dice.randrange(len(raw) + 1) for _ in range(dice.randrange(6)))
    portions = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    if _read_stream([raw], raw) != _read_stream(portions, raw):
        raise Broken("the portions do not matter", raw)


def _read_stream(portions: list[bytes], raw: bytes) -> list[Received | str]:
    reader, taken = FrameReader(STREAM_LIMIT), list[Received | str]()
    try:
        for portion in portions:
            reader.feed(portion)
            taken += iter(reader.take, None)
    except (ProtocolViolation, MessageTooLarge) as error:
        taken.append(type(error).__name__)
    except Exception as error:
        raise Broken(f"a reader raises its two errors or nothing: {error!r}", raw) from error
    return taken


def fuzz(dice: random.Random, seeds: list[bytes], report: Report, rounds: int) -> None:
    """Make and check so many frames, and a stream for each ten. Raise ``Broken``."""
    for number in range(rounds):
        raw = mutate(dice, seeds)
        report.messages += 1
        begun = time.thread_time()
        report.kinds.update(check_message(raw))
        if (took := time.thread_time() - begun) > report.slowest_seconds:
            report.slowest_seconds, report.slowest = took, raw
        if number % 10 == 0:
            check_stream(dice, make_stream(dice, seeds))
            report.streams += 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.fuzz_frames", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="the same seed makes the same frames")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    dice, seeds, report = random.Random(options.seed), read_seeds(), Report()
    begun, deadline, next_report = monotonic(), Deadline.after(options.minutes * 60), Deadline.after(REPORT_SECONDS)
    try:
        while not deadline.passed:
            fuzz(dice, seeds, report, ROUNDS)
            if next_report.passed:
                next_report = Deadline.after(REPORT_SECONDS)
                print(next(report.lines(monotonic() - begun)), flush=True)
    except Broken as broken:
        with tempfile.NamedTemporaryFile(prefix="worker68-fuzz-", suffix=".bin", delete=False) as file:
            file.write(broken.raw)
        print(f"BROKEN: {broken.rule}\nthe input, {len(broken.raw)} bytes: {file.name}")
        return 1
    except KeyboardInterrupt:
        pass
    print("\n".join(report.lines(monotonic() - begun)))
    print("no rule was broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
