"""Imports without garbage collection: faster, for what stays until the process ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import in this block what stays: to look through all of it for garbage takes a while.

    That would be done again and again meanwhile, a seventh of a worker's start, and once more when Python ends, a third of a short
    command's time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
