"""A guard for the whole run of tests: no statement of worker68's has many rows in one call, on PostgreSQL.

The driver makes a pipeline of such a call, and after a pipeline PostgreSQL ends no session that is idle within a transaction: the
locks of a frozen worker would never be released (``store/engine.py``). Tests themselves may do so.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event

_LIBRARIES: Final = sysconfig.get_path("purelib")
PACKAGE: Final = str(Path(__file__).resolve().parents[2] / "worker68")


class Pipeline(AssertionError):
    """A statement with many rows in one call. Give them as one parameter (``store/statements/batches.py``)."""


def refuse_pipelines() -> None:
    """Let such a call raise ``Pipeline``, with whatever engine."""
    event.listen(Engine, "do_executemany", _refuse)


def _refuse(_cursor: Any, statement: str, _rows: Any, context: Any) -> None:
    if context.dialect.name == "postgresql" and _find_caller().startswith(PACKAGE):
        raise Pipeline(statement)


def _find_caller() -> str:
    """Return the file that called the library."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith(_LIBRARIES):
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_code.co_filename
