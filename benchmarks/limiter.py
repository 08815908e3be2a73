"""The limiter: acquisitions a second under three limits, next to bare PINGs on the same connections.

python -m benchmarks.limiter [--rounds 7] [--calls 4000]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import redis

from benchmarks.rounds import LEAST_ROUNDS, Figures, Report, at_least, in_turn, percentile, ratios
from worker68.embedded import EmbeddedRedis
from worker68.jobs.fields import Chat
from worker68.limits.limiter import Ask, Grant, Limiter
from worker68.limits.rates import Limits, Rate

#: So high that nothing is refused: what is measured is the call, which is the same for a refusal but for the writes.
PLENTY = Rate(999_999, 1, burst=999_999)
THREE_LIMITS = Limits(account=PLENTY, chat=PLENTY, send=PLENTY, moderate=None, read=None)
ASK = Ask(Chat("group", 389284), "send")
GOAL = 0.6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=7)
    parser.add_argument("--calls", type=at_least(1), default=4000, help="calls a round, over all threads")
    given = parser.parse_args()
    report = Report("Limiter: one acquisition under three limits (account, chat, send)")
    with EmbeddedRedis() as server:
        for threads in (1, 16):
            with redis.Redis.from_url(server.url, protocol=2) as client:
                compare(report, client, threads, given.rounds, given.calls)
    return report.exit_code


def compare(report: Report, client: redis.Redis, threads: int, rounds: int, calls: int) -> None:
    limiter = Limiter(client)

    def acquire() -> None:
        (answer,) = limiter.acquire("main", THREE_LIMITS, [ASK])
        assert isinstance(answer, Grant)

    def ping() -> None:
        assert client.ping()

    with ThreadPoolExecutor(threads) as pool:
        figures = in_turn(
            rounds,
            lambda: measure("acquire", acquire, pool, threads, calls),
            lambda: measure("ping", ping, pool, threads, calls),
        )
    report.say(f"{threads} thread{'s' if threads > 1 else ''}:")
    for name, words in (("acquire", "acquisitions"), ("ping", "PING")):
        report.figure(words, figures[f"{name} a second"], "/s")
        report.figure(f"{words}, p50", figures[f"{name} p50"], "ms", 3)
        report.figure(f"{words}, p99", figures[f"{name} p99"], "ms", 3)
    share = report.figure("acquisitions to PINGs", ratios(figures["acquire a second"], figures["ping a second"]), "", 2)
    report.goal(f"share of PING with {threads} thread(s)", share, at_least=GOAL)


def measure(name: str, call: Callable[[], None], pool: ThreadPoolExecutor, threads: int, calls: int) -> Figures:
    """Make the calls from so many threads at once; return their rate and how long one took."""

    def work(_: int) -> list[float]:
        took = []
        for _ in range(calls // threads):
            began = perf_counter()
            call()
            took.append((perf_counter() - began) * 1000)
        return took

    began = perf_counter()
    milliseconds = [one for took in pool.map(work, range(threads)) for one in took]
    seconds = perf_counter() - began
    return {
        f"{name} a second": len(milliseconds) / seconds,
        f"{name} p50": percentile(milliseconds, 0.5),
        f"{name} p99": percentile(milliseconds, 0.99),
    }


if __name__ == "__main__":
    sys.exit(main())
