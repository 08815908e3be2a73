"""What a busy answer slows down: one table, from the code of the answer to what slows, by how much and for how long.

In: the setting SLOW_DOWNS as it comes out of JSON or TOML. Out: the rules of an account, or one ``ValueError`` that says what would
be right. Never: a look at Redis, or at another setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from worker68.durations import parse_seconds
from worker68.jobs.evidence import BUSY

#: Two kinds of calls that are answered busy within so many seconds mean that the account is too fast, not that a call is broken.
TOGETHER_SECONDS: Final = 60.0

_SLOWS: Final = ("call", "account")

_EXPECTED: Final = 'expected a table like {"300": {"slows": "call", "share": 0.5, "longest_pause": "60s"}}'


@dataclass(frozen=True, slots=True)
class SlowDown:
    """What an answer with one code slows down.

    ``slows``: ``call``, its kind of call alone, and the account only where it answers a send, or where a send or another kind of
    call was answered so within ``TOGETHER_SECONDS``; ``account``: the account at once. ``share``: what is left of the pace.
    ``longest_pause_seconds``: where the answers stay busy only probes go, at least so often.
    """

    slows: Literal["call", "account"] = "call"
    share: float = 0.5
    longest_pause_seconds: float = 60.0


Rules = Mapping[int, SlowDown]

#: 300 is the service's general failure, so one says little about the pace: the same kind of call slows down first, and the account
#: when calls of two kinds met it (PROTOCOL.md, Requests and replies).
DEFAULT_RULES: Final[Rules] = {BUSY: SlowDown()}


def parse_slow_downs(given: object, defaults: Rules) -> Rules:
    """Return the defaults with the rules of ``given`` added or put in their place.

    Raises one ``ValueError`` that names everything that is wrong.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{given!r}: {_EXPECTED}")
    rules, problems = dict(defaults), []
    for code, rule in given.items():
        try:
            rules[_parse_code(code)] = _parse_rule(rule)
        except ValueError as error:
            problems.append(f"{code}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return rules


def _parse_code(code: object) -> int:
    if (
        isinstance(code, str)
        and code.lstrip("-").isascii()
        and code.lstrip("-").isdigit()
        and int(code) not in (0, 200)
    ):
        return int(code)
    raise ValueError("a code is a whole number, and neither 0 nor 200, which mean success")


def _parse_rule(rule: object) -> SlowDown:
    if not isinstance(rule, Mapping):
        raise ValueError(_EXPECTED)
    if unknown := sorted(str(name) for name in rule.keys() - {"slows", "share", "longest_pause"}):
        raise ValueError(f"{', '.join(unknown)}: no such field; expected slows, share or longest_pause")
    default = SlowDown()
    slows, share = rule.get("slows", default.slows), rule.get("share", default.share)
    if slows not in _SLOWS:
        raise ValueError(f'slows: expected "call" or "account", not {slows!r}')
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise ValueError(f"share: expected what is left of the pace, more than 0 and less than 1, not {share!r}")
    seconds = parse_seconds(rule.get("longest_pause", default.longest_pause_seconds))
    if not 2 <= seconds <= 3600:
        raise ValueError(f"longest_pause: expected 2s to 1h, not {rule.get('longest_pause')!r}")
    return SlowDown(slows, float(share), float(seconds))
