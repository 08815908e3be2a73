"""The looks of ``worker68 check`` at what is easily overlooked: no worker, messages that none takes, jobs and replies that wait.

In: Redis and the database, as far as they answer. Out: findings. Reads only; each look is bounded, whatever lies there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from worker68.broker.place import FRONT_DOOR, lists_of, queue_of, show_key
from worker68.broker.strays import StrayFinder, in_trips
from worker68.cli.findings import RIGHTS, Finding, Ground
from worker68.cli.output import count_of, show_length, show_time
from worker68.clock import utc_now
from worker68.execution.publishing import DEAD_KEY
from worker68.execution.unread import MANY, OLD_SECONDS
from worker68.fleet.accounts import HIDDEN
from worker68.fleet.leases import FRONT, account_lease, read_owners
from worker68.limits.pace import read_paces
from worker68.observe.roster import Roster
from worker68.redis_calls import answers_of, redis_errors
from worker68.store.figures import count_in_doubt, count_outbox, find_waiting_accounts, sum_waiting_jobs
from worker68.store.outbox import count_refused
from worker68.store.pauses import list_pauses

#: The keys of Redis are looked through for so long, some million of them.
SCAN_SECONDS: Final = 5.0
SCAN_STEPS: Final = 10_000
#: A job that could have run for longer, and a reply that has waited longer to be published, are worth a warning: as the alerts.
OLD_JOB_SECONDS: Final = 600.0
OLD_ENTRY_SECONDS: Final = 60.0
#: A worker takes a change within seconds, once what is under way has ended.
OLD_CHANGE_SECONDS: Final = 120.0
#: What one 68 client passes on to its server, whatever its bridge accepts (PROTOCOL.md, Sending, [seen]).
MESSAGES_A_SECOND: Final = 10
#: How long "today" is.
DOUBT_HOURS: Final = 24
#: So many names stand in a finding.
NAMED: Final = 3

KEY_REMEDY: Final = "delete or rename the key if it is of another type; else give worker68 the right to it"
ENTRIES_REMEDY: Final = "put right in Redis what it refuses; what waits is tried again by itself, within five minutes"


def find_paces(ground: Ground) -> Iterator[Finding]:
    """Look for accounts that busy answers have slowed down: nothing is wrong with any part, but jobs wait longer."""
    for account, pace in read_paces(ground.redis, ground.accounts).items():
        if pace.words is not None:
            yield Finding(f"account {account}", True, pace.words, "nothing: it recovers by itself with each success")


def find_pauses(ground: Ground) -> Iterator[Finding]:
    """Look for accounts that an operator has paused."""
    for account, pause in list_pauses(ground.engine).items():
        remedy = f"when the reason is gone: worker68 resume {account} --reason ..."
        yield Finding(f"account {account}", True, pause.words, remedy)


def find_workers(ground: Ground) -> Iterator[Finding]:
    """Look whether workers run, say that they are well, and own the front door and each account."""
    workers = Roster(ground.redis).read()
    names = {FRONT: "front door"} | {account_lease(account): f"account {account}" for account in ground.accounts}
    with redis_errors():
        owners = read_owners(ground.redis, list(names))
    free = [part for lease, part in names.items() if lease not in owners]
    if not workers and len(free) == len(names):
        yield Finding(
            "workers", False, "no worker runs: nothing is taken in, nothing is sent", "start: worker68 worker"
        )
        return
    yield Finding("workers", True, f"{len(workers)} running" if workers else "running; none has said how it is yet")
    for part in free:
        remedy = (
            "start a worker that has it in its settings or database, and serves its label; a dead one's ownership ends "
            "after LEASE_TTL"
        )
        yield Finding(part, False, "no worker owns it: its jobs wait", remedy)
    for worker in workers:
        if worker.problem is not None:
            yield Finding(f"worker {worker.worker}", False, worker.problem, "see its log: worker_unhealthy")
        elif worker.silence is not None:
            remedy = "is its process stopped or gone, or is a host's clock wrong? It leaves this list within a minute"
            yield Finding(f"worker {worker.worker}", True, worker.silence, remedy, warning=True)


def find_wrong_accounts(ground: Ground) -> Iterator[Finding]:
    """Look whether what stands in the database for accounts holds, and whether their workers have taken it."""
    for name, problem in sorted(ground.known.problems.items()):
        remedy = f"worker68 accounts remove {name}" if problem == HIDDEN else f"worker68 accounts set {name} ..."
        found = f"what stands in the database for it does not hold: {problem}"
        yield Finding(f"account {name}", problem == HIDDEN, found, remedy, warning=problem == HIDDEN)
    slow = [
        name
        for name, row in ground.known.rows.items()
        if not row.is_taken and (utc_now() - row.changed_at).total_seconds() > OLD_CHANGE_SECONDS
    ]
    if not slow:
        return
    with redis_errors():
        owners = read_owners(ground.redis, list(map(account_lease, slow)))
    for name in slow:
        if (owner := owners.get(account_lease(name))) is not None:
            found = f"worker {owner} has not taken its last change yet"
            yield Finding(f"account {name}", True, found, "see its log, or restart it", warning=True)


def find_fast_limits(ground: Ground) -> Iterator[Finding]:
    """Look whether an account's limits permit more messages than its client can pass on."""
    for name, account in ground.accounts.items():
        rates = [rate for rate in (account.limits.account, account.limits.send) if rate is not None]
        fastest = min((rate.count / rate.period_seconds for rate in rates), default=None)
        if fastest is not None and fastest <= MESSAGES_A_SECOND:
            continue
        permitted = "any number of messages" if fastest is None else f"{fastest:g} messages"
        found = (
            f"they permit {permitted} a second, and a 68 client passes on {MESSAGES_A_SECOND} at most: the others wait "
            "in it, and their verdicts come late"
        )
        yield Finding(
            f"limits of {name}", True, found, f'LIMITS: "send": "{MESSAGES_A_SECOND}/s" or less', warning=True
        )


def find_wrong_queues(ground: Ground) -> Iterator[Finding]:
    """Look whether the keys of the queues are lists."""
    keys = [key for queue in (FRONT_DOOR, *map(queue_of, ground.accounts)) for key in lists_of(queue)]
    with redis_errors(), ground.redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        types: list[bytes] = pipe.execute()
    for key, kind in zip(keys, types, strict=True):
        if kind not in (b"list", b"none"):
            found = f"the key holds a {kind.decode()}, not a list: nothing can be pushed to it or taken from it"
            yield Finding(f"list {show_key(key)}", False, found, "rename or delete that key", cause=key)


def find_dead(ground: Ground) -> Iterator[Finding]:
    """Look whether anything was set aside."""
    with redis_errors():
        try:
            count: Any = ground.redis.llen(DEAD_KEY)
        except NoPermissionError:
            raise
        except ResponseError:
            remedy = "rename or delete that key: what is set aside waits in the database"
            yield Finding(DEAD_KEY, False, "the key holds something else than a list", remedy, cause=DEAD_KEY)
            return
    if count:
        yield Finding(
            DEAD_KEY, True, f"{count_of(count, 'entry', 'entries')} set aside", "worker68 dead list", warning=True
        )


def find_strays(ground: Ground) -> Iterator[Finding]:
    """Look for messages that no worker takes, and for replies that are not read."""
    try:
        strays = StrayFinder(ground.redis, ground.accounts).look(SCAN_STEPS, SCAN_SECONDS)
    except ResponseError as refusal:
        yield Finding("lists", True, f"Redis does not let us look for them: {refusal}", "allow SCAN", warning=True)
        return
    for account, count in sorted(strays.unknown.items()):
        found = f"{count_of(count, 'message')}, and no account of this name: no worker takes from it"
        remedy = "set the account up, or fix the producer and delete the list"
        yield Finding(f"list worker68.{account}", False, found, remedy)
    for key, count in sorted(strays.steps.items()):
        found = f"{count_of(count, 'message')} of a priority that no worker reads"
        remedy = "let the producer keep Celery's own priority_steps, and send them again"
        yield Finding(f"list {show_key(key)}", False, found, remedy)
    if strays.celery:
        found = f"{count_of(strays.celery, 'task')} of worker68's among the first and last: no worker takes from it"
        remedy = 'let the producer name the queue: send_task(..., queue="worker68.main")'
        yield Finding("list celery", False, found, remedy)
    yield from _judge_replies(ground, strays.replies)
    if not strays.complete:
        found = f"not all keys were looked at within {SCAN_SECONDS:g} s"
        yield Finding("lists", True, found, "are there too many results of Celery's?", warning=True)


def _judge_replies(ground: Ground, lengths: dict[str, int]) -> Iterator[Finding]:
    if not lengths:
        return
    longest = sorted(lengths, key=lengths.__getitem__, reverse=True)[:NAMED]
    named = ", ".join(f"{key.removeprefix('worker68:replies:')} ({lengths[key]})" for key in longest)
    more = ", …" if len(lengths) > NAMED else ""
    found = f"{sum(lengths.values())} unread in {count_of(len(lengths), 'list')}: {named}{more}"
    waited = _longest_wait(ground.redis, list(lengths))
    old = min(OLD_SECONDS, ground.settings.reply_ttl / 2)
    if waited >= old:
        found += f"; some for {show_length(waited)}"
    warning = lengths[longest[0]] >= MANY or waited >= old
    yield Finding("replies", True, found, "does their reader run?" if warning else None, warning)


def _longest_wait(redis: Any, keys: Sequence[str]) -> float:
    """Return for how long the oldest reply of these lists has waited at least, as the relay has marked it."""
    since: list[float] = []
    for some in in_trips(keys):
        with redis.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.lindex(f"{key}:marks", 0)
            answers = answers_of(pipe)
        since += [at for mark in answers if (at := _marked_at(mark)) is not None]
    return max(0.0, utc_now().timestamp() - min(since)) if since else 0.0


def _marked_at(mark: object) -> float | None:
    """Return the time of a mark; None where there is none, or Redis refuses to show it."""
    try:
        return float(mark.partition(b":")[0]) if isinstance(mark, bytes) else None
    except ValueError:
        return None


def find_waiting(ground: Ground) -> Iterator[Finding]:
    """Look for how long the oldest job waits that could run, and whether jobs wait of accounts that there are not."""
    accounts = sorted({*ground.accounts, *find_waiting_accounts(ground.engine)})
    paused = list_pauses(ground.engine)
    for account, (states, oldest) in sorted(sum_waiting_jobs(ground.engine, accounts, utc_now()).items()):
        found = f"{count_of(states.total(), 'job')} unfinished"
        if account not in ground.accounts:
            found = f"{found}, and there is no account of this name"
            yield Finding(f"jobs of {account}", False, found, "set the account up again, or cancel them")
        elif oldest is not None:
            late = oldest > OLD_JOB_SECONDS and account not in paused
            found = f"{found}; the oldest that could run has waited for {show_length(oldest)}"
            remedy = f"worker68 jobs list --state ready --account {account}" if late else None
            yield Finding(f"jobs of {account}", True, found, remedy, late)


def find_doubts(ground: Ground) -> Iterator[Finding]:
    """Look how many jobs ended in doubt within a day: a person must find out what became of them."""
    numbers, complete = count_in_doubt(ground.engine, utc_now() - dt.timedelta(hours=DOUBT_HOURS))
    for account, number in sorted(numbers.items()):
        found = f"{'' if complete else 'at least '}{count_of(number, 'job')} within {DOUBT_HOURS} hours"
        yield Finding(f"jobs in doubt of {account}", True, found, "worker68 jobs list --status in_doubt", warning=True)


def find_unpublished(ground: Ground) -> Iterator[Finding]:
    """Look whether replies wait in the database for longer than a relay takes."""
    accounts, now = sorted(ground.accounts), utc_now()
    entries = count_outbox(ground.engine, accounts)
    waited = max(((now - one.since).total_seconds() for one in entries), default=0.0)
    if waited > OLD_ENTRY_SECONDS:
        found = f"{sum(one.number for one in entries)} not published; the oldest has waited for {show_length(waited)}"
        remedy = "does a worker run, does Redis refuse them? Log: redis_away, where: relay"
        yield Finding("outbox", True, found, remedy, warning=True)


def find_refused_keys(ground: Ground) -> Iterator[Finding]:
    """Yield the keys that Redis refused to a worker within the last quarter of an hour."""
    refused = {(one.key, one.problem) for status in Roster(ground.redis).read() for one in status.refused}
    for key, problem in sorted(refused):
        cause = RIGHTS if _is_of_rights(problem) else key
        yield Finding("redis", False, f"refuses {key}: {problem}", KEY_REMEDY, cause=cause)


def find_refused_entries(ground: Ground) -> Iterator[Finding]:
    """Yield how much waits in the database because Redis refuses it, by account and kind."""
    for one in count_refused(ground.engine):
        waits = (
            f"{one.number} of kind {one.kind} for {one.account or 'no account'} wait since {show_time(one.since)} UTC"
        )
        found = f"{waits}: Redis refuses them ({one.problem})"
        cause = RIGHTS if _is_of_rights(one.problem) else ""
        if not cause and one.kind in ("dead", "reply"):
            # A reply whose own key is of another type waits only if it cannot be set aside either.
            cause = DEAD_KEY
        yield Finding("refused replies", False, found, ENTRIES_REMEDY, cause=cause, effect=waits)


def _is_of_rights(problem: str) -> bool:
    return problem.startswith("NOPERM")
