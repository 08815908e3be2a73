"""Lengths of time as settings and commands write them: ``10s``, ``5m``, ``2h``, ``7d``, or a number of seconds.

In: values as they come out of JSON, TOML or the environment. Out: seconds, or ``ValueError`` with what would be right.
"""

from __future__ import annotations

import re
from typing import Any, Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LENGTH: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)")
#: Longer is a mistake, and soon more than clocks and Redis can count.
_LONGEST_SECONDS: Final = 3650 * 86400


def parse_seconds(value: Any) -> float:
    """Return a length of time in seconds from a number or ``10s``, ``5m``, ``2h``, ``7d``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _LENGTH.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected seconds or a length like 10s, 5m, 2h, 7d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def parse_optional_seconds(value: Any) -> float | None:
    """Return a length of time, or None for ``off`` and ``for ever``."""
    if value is None or (isinstance(value, str) and value.strip().lower() in ("off", "for ever", "")):
        return None
    return parse_seconds(value)


def check_a_second(value: float) -> float:
    """Return the length, or raise ``ValueError`` where it is shorter than what can be kept to."""
    if value < 1:
        raise ValueError("expected at least 1s")
    return value


def check_length(value: float | None) -> float | None:
    """Return the length, or raise ``ValueError`` where it is none of use."""
    if value is None or 0 < value <= _LONGEST_SECONDS:
        return value
    raise ValueError(f"expected a length {'of at most ten years' if value > 0 else 'above zero'}")
