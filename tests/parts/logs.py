"""The log as it was before a test that configures it, and again afterwards."""

from __future__ import annotations

import logging
import sys
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
        # A logger of a module that wrote meanwhile keeps what was configured then.
        for name, module in list(sys.modules.items()):
            if name.startswith("worker68.") and (logger := vars(module).get("log")) is not None:
                vars(logger).pop("bind", None)
        root.handlers[:] = handlers
        root.setLevel(level)
