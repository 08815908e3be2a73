"""What is ready waits here until Celery's consumer takes it: the waiting room's side of the transport.

In: deliverables from the thread that decides what is ready. Out: their payloads, handed one by one to Celery on its event
loop, all in one wake-up; and word of those that Celery would not run. It outlives connections: when Celery loses Redis and
connects anew, what has not been handed over is handed over then, and what has been handed over is still going to run.

Never touches Redis, and an acknowledgement is only forgotten: what must survive this process lies in the database.
"""

from __future__ import annotations

import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import structlog

from worker68.errors import describe_fault

log = structlog.get_logger(__name__)

_ACKNOWLEDGED_AT_ONCE = (
    "Celery acknowledged it without running it: its body cannot be decoded, or its task is not registered"
)


@dataclass(frozen=True, slots=True)
class Deliverable:
    """A message for Celery. ``raw`` is kombu's payload (body, headers, properties, content-type, content-encoding).

    ``tag`` is the sender's name for it, by which the callbacks speak of it; it may come again once it is settled.
    """

    tag: str
    raw: dict[str, Any]


class Delivery:
    """Hands messages from one thread to Celery's event loop. Every method may be called from any thread.

    ``on_given_back(tag)``: Celery wants it delivered again later. ``on_refused(tag, reason)``: Celery cannot take this
    message, so the next try will probably fail as well. Both are called from Celery's loop and should return soon.
    """

    def __init__(self, on_given_back: Callable[[str], None], on_refused: Callable[[str, str], None]) -> None:
        self._on_given_back = on_given_back
        self._on_refused = on_refused
        # Guards what waits, what is outstanding, paused and rung. Never held while a callback or Celery runs.
        self._lock = threading.Lock()
        self._waiting: deque[Deliverable] = deque()
        # Kombu's delivery tag -> the sender's tag, for what was handed over and is not yet settled.
        self._outstanding: dict[str, str] = {}
        # Delivery tags are ours alone: the producer's may be anything, and comes again when a job is delivered again.
        self._prefix = f"worker68-{uuid.uuid4().hex}-"
        self._numbers = count(1)
        self._being_handed_over: str | None = None
        self._handed_over_by: int | None = None
        self._paused = False
        self._rung = False
        self.answered = 0  # how often Celery's consumer came to look what there is
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)

    def __len__(self) -> int:
        """Return how many wait to be handed over."""
        return len(self._waiting)

    def __json__(self) -> str:
        """Kombu's hook: ``celery inspect stats`` shows the transport's options, and so this object."""
        return repr(self)

    def __repr__(self) -> str:
        return f"<Delivery: {len(self._waiting)} waiting, {len(self._outstanding)} outstanding>"

    # The sender's side

    def put(self, *deliverables: Deliverable) -> None:
        """Let these be handed over in this order, after those that wait already."""
        with self._lock:
            self._waiting.extend(deliverables)
        self.ring()

    def pause(self) -> None:
        """Hand over nothing more until ``resume``; what is being handed over at this moment still is."""
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        with self._lock:
            self._paused = False
        self.ring()

    def take_back(self) -> list[Deliverable]:
        """Return all that was not handed over yet; it will not be any more."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
            return taken

    def outstanding(self) -> list[str]:
        """Return the tags of what Celery holds and has neither begun to run nor sent back.

        Once Celery's pool has stopped, these will not run any more. (With ``acks_late`` running ones are among them.)
        """
        with self._lock:
            return list(self._outstanding.values())

    # The transport's side

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when there may be something to hand over."""
        return self._ear.fileno()

    def ring(self) -> None:
        """Make the descriptor readable."""
        with self._lock:
            if self._rung:
                return
            self._rung = True
        # A full buffer means that it is readable, and a closed one that nobody listens any more.
        with suppress(OSError):
            self._bell.send(b"\0")

    def silence(self) -> None:
        """Make the descriptor unreadable. Do it before looking what there is, or a ring in between is lost."""
        with suppress(BlockingIOError):
            self._ear.recv(64)
        with self._lock:
            self._rung = False

    def hand_over(self, deliver: Callable[[dict[str, Any]], None], has_room: Callable[[], bool]) -> None:
        """Hand over, in order, what waits now, as long as there is room. One message's error is only that message's."""
        self.answered += 1
        for _ in range(len(self)):
            if not has_room():
                return
            taken = self._take_next()
            if taken is None:
                return
            self._hand_over_one(*taken, deliver)

    def issued(self, delivery_tag: str) -> bool:
        """Say whether this is the delivery tag of a message that was handed over here."""
        return delivery_tag.startswith(self._prefix)

    def acknowledge(self, delivery_tag: str) -> None:
        """Forget a message that Celery has begun to run (or ended, with ``acks_late``). Harmless when repeated.

        The loop may say so before the hand-over has returned; on the thread that hands over it means the contrary.
        """
        if delivery_tag == self._being_handed_over and threading.get_ident() == self._handed_over_by:
            self.refuse(delivery_tag, _ACKNOWLEDGED_AT_ONCE)
        else:
            self._settle(delivery_tag)

    def give_back(self, delivery_tag: str) -> None:
        """Tell the sender that Celery wants the message again later."""
        tag = self._settle(delivery_tag)
        if tag is not None:
            _call_back(self._on_given_back, tag)

    def refuse(self, delivery_tag: str, reason: str) -> None:
        """Tell the sender that Celery cannot take the message."""
        tag = self._settle(delivery_tag)
        if tag is not None:
            log.error("delivery_refused", tag=tag, reason=reason)
            _call_back(self._on_refused, tag, reason)

    def close(self) -> None:
        self._ear.close()
        self._bell.close()

    def _take_next(self) -> tuple[Deliverable, str] | None:
        with self._lock:
            if self._paused or not self._waiting:
                return None
            deliverable = self._waiting.popleft()
            delivery_tag = f"{self._prefix}{next(self._numbers)}"
            self._outstanding[delivery_tag] = deliverable.tag
            return deliverable, delivery_tag

    def _hand_over_one(
        self, deliverable: Deliverable, delivery_tag: str, deliver: Callable[[dict[str, Any]], None]
    ) -> None:
        self._being_handed_over, self._handed_over_by = delivery_tag, threading.get_ident()
        try:
            deliver(_with_delivery_tag(deliverable.raw, delivery_tag))
        except Exception as error:  # noqa: BLE001 - whatever a message does to Celery must not stop the next one
            self.refuse(delivery_tag, describe_fault(error))
        except BaseException:
            with self._lock:
                if self._outstanding.pop(delivery_tag, None) is not None:
                    self._waiting.appendleft(deliverable)
            raise
        finally:
            self._being_handed_over = None

    def _settle(self, delivery_tag: str) -> str | None:
        with self._lock:
            return self._outstanding.pop(delivery_tag, None)


def _with_delivery_tag(raw: dict[str, Any], delivery_tag: str) -> dict[str, Any]:
    properties = {"delivery_info": {}, **raw["properties"], "delivery_tag": delivery_tag}
    return {**raw, "properties": properties}


def _call_back(callback: Callable[..., None], tag: str, *arguments: str) -> None:
    try:
        callback(tag, *arguments)
    except Exception:
        log.exception("delivery_callback_failed", tag=tag)
