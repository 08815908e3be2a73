"""Logs: one line an event, with a fixed name and its data in fields; JSON, or text at a terminal. Never message text."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, BinaryIO, cast

import structlog

from worker68.settings import Settings


def configure_logs(settings: Settings) -> None:
    """Send our events and the standard library's log records (Celery's) to standard error in one form.

    Ours do not pass through the standard library, which costs several times what such a line needs.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    as_text = settings.log_format == "text" or (settings.log_format is None and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, renderer, _encode],
        logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, _Lines(sys.stderr.buffer))),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Celery's pool tells at "debug" the arguments of what it runs: of a message on a queue that is not ours, its text.
    logging.getLogger("celery.pool").setLevel(logging.INFO)


class _Lines:
    """Where lines go that may be lost: whoever says something must not fail because the disk is full or the reader gone.

    Nor because the file is closed (a ``ValueError``), which a thread may outlive. The standard library's handlers are as patient.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: bytes) -> None:
        with suppress(OSError, ValueError):
            self._file.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._file.flush()


def _encode(_logger: Any, _method: str, line: Any) -> bytes:
    """Text may come from anywhere: what UTF-8 has no place for is written as an escape."""
    encoded: bytes = line.encode("utf-8", "backslashreplace")
    return encoded
