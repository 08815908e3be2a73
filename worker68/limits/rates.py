"""What a limit is: ``20/m+3`` as the setting LIMITS writes it (contract, section 3), and the five limits of an account.

In: values as they come out of JSON or TOML. Out: ``Rate`` and ``Limits``, or one ``ValueError`` that says what would be right.
Never: a look at the time, at Redis, or at another setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

_PERIODS: Final = {"s": 1, "m": 60, "h": 3600}

# Six digits: one more per second would be less than a microsecond apart, the smallest step of the limiter's clock.
_RATE: Final = re.compile(r"(?P<count>[0-9]{1,6})/(?P<unit>[smh])(?:\+(?P<burst>[0-9]{1,6}))?")

_EXPECTED: Final = 'expected N/s, N/m or N/h with an optional +B, like "20/m+3", or "off"'


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` writes in every ``period_seconds``, evenly spaced, of which ``burst`` may come at once after a rest.

    Over any window of one period there are at most ``count + burst`` writes, both ends of the window included.
    """

    count: int
    period_seconds: int
    burst: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or self.period_seconds < 1 or self.burst < 1:
            raise ValueError(f"count, period and burst of a rate are at least 1, not {self!r}")

    def __str__(self) -> str:
        """Return the rate as the setting writes it."""
        unit = next(unit for unit, seconds in _PERIODS.items() if seconds == self.period_seconds)
        return f"{self.count}/{unit}" + (f"+{self.burst}" if self.burst > 1 else "")

    @property
    def interval_microseconds(self) -> int:
        """The spacing of two writes at a steady pace, rounded up: the limit holds rather than being used to the last digit."""
        return -(-self.period_seconds * 1_000_000 // self.count)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one account; None means that there is none.

    ``account`` holds for everything, ``chat`` for each chat by itself, the others for the jobs of their class.
    """

    account: Rate | None
    chat: Rate | None
    send: Rate | None
    moderate: Rate | None
    read: Rate | None


LIMIT_NAMES: Final = ("account", "chat", "send", "moderate", "read")

#: The defaults of the contract: what a busy person at the client might do, far from what the service calls busy.
DEFAULT_LIMITS: Final = Limits(
    account=Rate(60, 60), chat=Rate(20, 60), send=Rate(40, 60), moderate=Rate(30, 60), read=Rate(120, 60)
)

NO_LIMITS: Final = Limits(account=None, chat=None, send=None, moderate=None, read=None)


def parse_rate(value: object) -> Rate | None:
    """Return the rate that the value means, None for ``"off"``; raise ``ValueError`` with what would be right."""
    if value == "off":
        return None
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{_quote(value)}: {_EXPECTED}")
    count, burst = int(match["count"]), int(match["burst"] or 1)
    if count < 1 or burst < 1:
        raise ValueError(f"{_quote(value)}: N and B are at least 1; {_EXPECTED}")
    return Rate(count, _PERIODS[match["unit"]], burst)


def parse_limits(given: object, defaults: Limits = DEFAULT_LIMITS) -> Limits:
    """Return the defaults with the limits that ``given`` names put in their place; ``"off"`` removes all five.

    Raises one ``ValueError`` that names everything that is wrong in ``given``.
    """
    if given == "off":
        return NO_LIMITS
    if not isinstance(given, Mapping):
        raise ValueError(f'{_quote(given)}: expected "off" or a table like {{"account": "60/m", "chat": "20/m+3"}}')
    rates: dict[str, Rate | None] = {}
    problems: list[str] = []
    for name, value in given.items():
        try:
            rates[_check_name(name)] = parse_rate(value)
        except ValueError as error:
            problems.append(f"{name}: {error}" if name in LIMIT_NAMES else str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return replace(defaults, **rates)


def _check_name(name: object) -> str:
    if not isinstance(name, str) or name not in LIMIT_NAMES:
        raise ValueError(f"{_quote(name)}: no such limit; expected {', '.join(LIMIT_NAMES[:-1])} or {LIMIT_NAMES[-1]}")
    return name


def _quote(value: object) -> str:
    """The value as its writer would recognise it, cut short so that the message stays one readable line."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
