"""Where replies were published lately, so that somebody can look whether they are read.

In: the key of each reply. Out: the last few hundred different ones. Never: more, whatever names producers make up.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

#: A reply list a minute for hours, or the few that there usually are.
MOST_KEYS: Final = 500


class ReplyKeys:
    """Remembers keys, the least recently used forgotten first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _keys: the relay writes, a scrape reads
        self._keys: OrderedDict[str, bool] = OrderedDict()

    def note(self, key: str, *, is_stream: bool) -> None:
        with self._lock:
            self._keys[key] = is_stream
            self._keys.move_to_end(key)
            if len(self._keys) > MOST_KEYS:
                self._keys.popitem(last=False)

    def recent(self) -> list[tuple[str, bool]]:
        """Return the keys, and whether each is a stream."""
        with self._lock:
            return list(self._keys.items())
