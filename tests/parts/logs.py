"""The log as it was before a test that configures it, and again afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def restored_logs() -> Iterator[None]:
    """Undo at the end what ``configure_logs`` did in this block."""
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    try:
        yield
    finally:
        logging.raiseExceptions = raises
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
