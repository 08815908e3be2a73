"""Logs: one line an event, with a fixed name and its data in fields; JSON, or text at a terminal. Never message text."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from worker68.observe.tracebacks import format_traceback
from worker68.settings import Settings


def configure_logs(settings: Settings) -> None:
    """Send our events, and the records of libraries (Celery's), to standard error in one form, through the standard library."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(format_traceback),
    ]
    as_text = settings.log_format == "text" or (settings.log_format is None and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
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
    # Standard error may be full or closed: a line that cannot be written is lost, and the code that wrote it goes on.
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Celery's pool logs at "debug" the arguments of what it runs: of a message on a queue that is not ours, its text.
    logging.getLogger("celery.pool").setLevel(logging.INFO)
