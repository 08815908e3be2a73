"""The frame of every benchmark: rounds in which things are measured in turn, medians with their spread, goals.

In: callables that each return one figure. Out: lines on standard output, and an exit code. Never: a single figure, a ratio of two
runs.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

#: Fewer say nothing about the spread.
LEAST_ROUNDS: Final = 5

Figures = Mapping[str, float]


def at_least(least: int) -> Callable[[str], int]:
    """Return what argparse turns a word into a whole number of at least ``least`` with, before anything is started."""

    def read(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, not {word!r}") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"at least {least}, not {number}")
        return number

    return read


def counts(word: str) -> list[int]:
    """Return numbers for argparse, like ``1,100,500``: each at least 1."""
    return [at_least(1)(part) for part in word.split(",")]


def seconds(word: str) -> float:
    """Return a length of time for argparse: above zero."""
    length = seconds_from_zero(word)
    if length == 0:
        raise argparse.ArgumentTypeError("more than 0 seconds")
    return length


def seconds_from_zero(word: str) -> float:
    """Return a length of time for argparse: zero or more, and finite."""
    try:
        length = float(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected seconds, not {word!r}") from None
    if not 0 <= length < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 on, not {word}")
    return length


def in_turn(rounds: int, *things: Callable[[], Figures]) -> dict[str, list[float]]:
    """Measure each thing once a round, beginning with another one each time; return all figures by name.

    What disturbs the machine for a while so disturbs all of them. A first round warms up and does not count.
    """
    if rounds < LEAST_ROUNDS:
        raise ValueError(f"at least {LEAST_ROUNDS} rounds, not {rounds}")
    figures: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        start = number % len(things)
        for thing in (*things[start:], *things[:start]):
            for name, figure in thing().items():
                if number > 0:
                    figures.setdefault(name, []).append(figure)
    return figures


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio of two things in each round."""
    return [one / other for one, other in zip(above, below, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


@dataclass
class Report:
    """The lines of one benchmark. ``missed`` names the goals that were not reached."""

    title: str
    missed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        logging.basicConfig(level=logging.ERROR)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        print(f"{self.title}\n{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")

    def say(self, line: str) -> None:
        print(line, flush=True)

    def figure(self, name: str, rounds: Sequence[float], unit: str = "", digits: int = 0) -> float:
        """Print the median of the rounds and between what they lay; return the median."""
        middle = statistics.median(rounds)
        low, high = min(rounds), max(rounds)
        self.say(
            f"  {name:44}{middle:>12,.{digits}f} {unit:8}({low:,.{digits}f} to {high:,.{digits}f}, {len(rounds)} rounds)"
        )
        return middle

    def goal(self, name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Print whether a goal was reached."""
        reached = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        bound = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
        self.say(f"  {'reached' if reached else 'MISSED'}: {name} {value:.3g}, goal {bound}")
        if not reached:
            self.missed.append(name)

    @property
    def exit_code(self) -> int:
        return 1 if self.missed else 0
