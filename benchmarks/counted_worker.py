"""A worker that counts its SQL statements: ``python -m benchmarks.counted_worker FILE``, then as ``celery -A worker68 worker``.

The counts, by the statement's first words, are written to the file as JSON several times a second.
"""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from celery.__main__ import main as celery_main
from sqlalchemy import Engine, event

EVERY_SECONDS = 0.1

counts: Counter[str] = Counter()


def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    words = statement.split()
    table = next((word for word, before in zip(words[1:], words, strict=False) if before.upper() in _BEFORE_TABLE), "")
    counts[f"{words[0].upper()} {table}"] += 1


_BEFORE_TABLE = {"FROM", "INTO", "UPDATE"}


def write_for_ever(file: Path) -> None:
    pause = threading.Event()
    while not pause.wait(EVERY_SECONDS):
        beside = file.with_suffix(".new")
        beside.write_text(json.dumps(dict(counts)))
        os.replace(beside, file)


if __name__ == "__main__":
    event.listen(Engine, "before_cursor_execute", count)
    threading.Thread(target=write_for_ever, args=(Path(sys.argv[1]),), daemon=True).start()
    sys.argv = ["celery", "-A", "worker68", "worker"]
    celery_main()
