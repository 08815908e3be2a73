"""What ``worker68 check`` finds beside the parts themselves: what works no more, or what a person should look at."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
import redis
from sqlalchemy import update

from tests.integration.cli.conftest import Run
from tests.parts.jobs import message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.sentinel import connect, watched
from tests.parts.worker import wait_until
from worker68.clock import utc_now
from worker68.embedded import EmbeddedRedis
from worker68.jobs.outcome import ErrorCode, in_doubt
from worker68.jobs.states import State
from worker68.observe.roster import AccountStatus, RefusedKey, Roster, WorkerStatus
from worker68.simulator import Simulator
from worker68.store import pauses
from worker68.store.accounts import AccountRow, change_account, note_taken
from worker68.store.outbox import settle_outbox
from worker68.store.tables import jobs

HOUR = dt.timedelta(hours=1)


class Checked(NamedTuple):
    exit_code: int
    findings: dict[str, dict[str, Any]]

    def verdict(self, part: str) -> str:
        """Return how it is with a part: ok, warning, wrong, or that nothing was said of it."""
        finding = self.findings.get(part)
        if finding is None:
            return "unsaid"
        return "wrong" if not finding["ok"] else "warning" if finding["warning"] else "ok"


Check = Callable[[], Checked]


@pytest.fixture
def bridge() -> Iterator[Simulator]:
    with Simulator(heartbeat_seconds=0.2) as bridge:
        yield bridge


@pytest.fixture
def check(run: Run, redis_url: str, sqlite_url: str, ledger: Ledger, bridge: Simulator) -> Check:
    def ask() -> Checked:
        settings = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "BRIDGE_URL": bridge.url}
        done = run("check", "--json", **settings)
        assert done.stderr == ""
        return Checked(done.exit_code, {one["part"]: one for one in json.loads(done.stdout)})

    return ask


@pytest.fixture
def worker(client: redis.Redis) -> WorkerStatus:
    """A worker that owns everything and is well, as far as Redis says; its report does not become old while a test runs."""
    client.set("worker68:lease:front", "host-1|1")
    client.set("worker68:lease:account:main", "host-1|1")
    now = utc_now()
    status = WorkerStatus("host-1", 1, now, now + HOUR, None, True, {})
    Roster(client).report(status)
    return status


def put_account(ledger: Ledger, name: str, when: dt.datetime, **settings: Any) -> AccountRow:
    return change_account(ledger.engine, name, lambda rows: settings, "ann", when)


def test_it_says_where_an_account_stands_and_what_of_the_database_does_not_hold(
    check: Check, ledger: Ledger, bridge: Simulator
) -> None:
    put_account(ledger, "shop", utc_now(), bridge_url="ws://127.0.0.1:1")
    put_account(ledger, "main", utc_now(), bridge_url="ws://127.0.0.1:2")
    put_account(ledger, "kiosk", utc_now(), bridge_url=bridge.url)
    checked = check()
    assert checked.findings["bridge of main"]["found"].endswith("; from the settings")
    assert checked.findings["bridge of shop"]["found"].endswith("; from the database")
    assert (checked.verdict("account main"), checked.verdict("account kiosk")) == ("warning", "wrong")
    assert "which wins" in checked.findings["account main"]["found"]
    assert "the same bridge_url" in checked.findings["account kiosk"]["found"]


def test_a_change_that_a_worker_has_not_taken_for_long_is_a_warning(
    check: Check, client: redis.Redis, ledger: Ledger
) -> None:
    client.set("worker68:lease:account:shop", "host-1|1")
    row = put_account(ledger, "shop", utc_now() - HOUR, bridge_url="ws://127.0.0.1:1")
    checked = check()
    assert checked.verdict("account shop") == "warning"
    assert "worker host-1 has not taken its last change yet" in checked.findings["account shop"]["found"]
    note_taken(ledger.engine, "shop", row.version)
    assert check().verdict("account shop") == "unsaid"


def test_without_a_worker_nothing_is_taken_in(check: Check) -> None:
    checked = check()
    assert (checked.exit_code, checked.verdict("workers")) == (1, "wrong")
    assert "worker68 worker" in checked.findings["workers"]["remedy"]


def test_with_a_worker_that_owns_everything_all_is_well(check: Check, worker: WorkerStatus, bridge: Simulator) -> None:
    checked = check()
    assert checked.exit_code == 0, checked
    assert set(checked.findings) == {"redis", "database", "workers", "bridge of main"}
    assert not bridge.connections, "the worker holds the one connection"


def test_a_bridge_that_its_owner_cannot_use_is_wrong_though_its_port_answers(
    check: Check, worker: WorkerStatus, client: redis.Redis
) -> None:
    trouble = "the 68 client is logged out of its server since 03:12:07 UTC"
    status = msgspec.structs.replace(worker, accounts={"main": AccountStatus(trouble, 1, 0, 0.0, {})})
    Roster(client).report(status)
    checked = check()
    assert (checked.exit_code, checked.verdict("bridge of main")) == (1, "wrong")
    assert trouble in checked.findings["bridge of main"]["found"]

    client.set("worker68:lease:account:main", "host-2|2")
    assert check().verdict("bridge of main") == "ok", "another worker owns it by now, and has not said how it is"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ('"off"', "any number of messages a second"),
        ('{"account": "900/m", "send": "off"}', "15 messages a second"),
        ('{"account": "off", "send": "11/s+1"}', "11 messages a second"),
    ],
)
def test_limits_that_no_client_can_use_are_a_warning(
    run: Run, redis_url: str, sqlite_url: str, ledger: Ledger, bridge: Simulator, limits: str, said: str
) -> None:
    settings = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "BRIDGE_URL": bridge.url, "LIMITS": limits}
    (finding,) = [
        one for one in json.loads(run("check", "--json", **settings).stdout) if one["part"] == "limits of main"
    ]
    assert (finding["ok"], finding["warning"]) == (True, True)
    assert said in finding["found"]
    assert "10 at most" in finding["found"]


def test_limits_of_ten_messages_a_second_are_none(
    run: Run, redis_url: str, sqlite_url: str, ledger: Ledger, bridge: Simulator
) -> None:
    limits = '{"account": "20/s", "send": "10/s+30"}'
    settings = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "BRIDGE_URL": bridge.url, "LIMITS": limits}
    assert "limits of" not in run("check", "--json", **settings).stdout


def test_a_worker_that_does_not_report_is_a_warning(check: Check, client: redis.Redis, worker: WorkerStatus) -> None:
    Roster(client).report(msgspec.structs.replace(worker, told_at=utc_now() - dt.timedelta(seconds=12)))
    checked = check()
    assert (checked.exit_code, checked.verdict("worker host-1")) == (0, "warning")


@pytest.mark.parametrize(("lease", "part"), [("front", "front door"), ("account:main", "account main")])
def test_what_no_worker_owns_is_wrong(
    check: Check, worker: WorkerStatus, client: redis.Redis, lease: str, part: str
) -> None:
    client.delete(f"worker68:lease:{lease}")
    checked = check()
    assert (checked.exit_code, checked.verdict(part), checked.verdict("workers")) == (1, "wrong", "ok")


def test_a_worker_that_is_not_well_is_wrong(check: Check, worker: WorkerStatus, client: redis.Redis) -> None:
    status = WorkerStatus("host-2", 1, utc_now(), utc_now(), "scheduler: stands still", False, {})
    Roster(client).report(worker)
    client.zadd("worker68:workers", {"host-2": utc_now().timestamp()})
    Roster(client).report(status)
    checked = check()
    assert (checked.exit_code, checked.findings["worker host-2"]["found"]) == (1, "scheduler: stands still")


def test_what_was_set_aside_is_a_warning(check: Check, worker: WorkerStatus, client: redis.Redis) -> None:
    client.rpush("worker68:dead", "one", "two")
    checked = check()
    assert (checked.exit_code, checked.verdict("worker68:dead")) == (0, "warning")
    assert "2 entries" in checked.findings["worker68:dead"]["found"]


def test_a_key_of_another_type_in_its_place_is_wrong(check: Check, worker: WorkerStatus, client: redis.Redis) -> None:
    client.set("worker68:dead", "x")
    assert (checked := check()).exit_code == 1
    assert checked.verdict("worker68:dead") == "wrong"


@pytest.mark.parametrize("key", ["worker68", "worker68.main", "worker68.main\x06\x163"])
def test_a_queue_of_another_type_is_wrong(check: Check, worker: WorkerStatus, client: redis.Redis, key: str) -> None:
    client.set(key, "x")
    client.rpush("worker68.main:6", "a message")
    checked = check()
    part = f"list {key}".replace("\x06\x16", "\\x06\\x16")
    assert (checked.exit_code, checked.verdict(part)) == (1, "wrong")
    assert "holds a string, not a list" in checked.findings[part]["found"]


def test_what_has_one_cause_is_one_finding(
    run: Run, redis_url: str, sqlite_url: str, ledger: Ledger, worker: WorkerStatus, client: redis.Redis
) -> None:
    """What the key and the missing right have done is said beside them: what workers were refused, and what waits because of it."""
    wrong_type, no_right = "WRONGTYPE Operation against a key", "NOPERM no permissions"
    refused = [
        RefusedKey("worker68:dead", "dead", wrong_type, 1),
        RefusedKey("worker68:replies:orders", "reply", no_right, 1),
    ]
    Roster(client).report(msgspec.structs.replace(worker, refused=refused))
    client.set("worker68:dead", "x")
    ledger.arrive(b"no message")
    ledger.settled(reply_to="orders")
    problems = {"dead": wrong_type, "reply": no_right}
    told = [(entry, problems[entry.kind]) for entry in ledger.in_outbox() if entry.kind in problems]
    settle_outbox(ledger.engine, [], told, utc_now())
    client.acl_setuser("half", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", "-rpush"])
    url = f"redis://half:any@{redis_url.rpartition('@')[2].removeprefix('redis://')}"
    try:
        done = run("check", "--json", REDIS_URL=url, DATABASE_URL=sqlite_url, BRIDGE_URL="ws://127.0.0.1:1")
    finally:
        client.acl_deluser("half")
    wrong = {one["part"]: one["found"] for one in json.loads(done.stdout) if not one["ok"]}
    assert set(wrong) == {"redis", "worker68:dead", "bridge of main"}
    assert "RPUSH" in wrong["redis"]
    assert "1 of kind reply for main wait since" in wrong["redis"]
    assert "1 of kind dead for" in wrong["worker68:dead"]


def test_a_list_that_no_worker_takes_from_is_wrong(check: Check, worker: WorkerStatus, client: redis.Redis) -> None:
    client.lpush("worker68.ghost", message())
    client.lpush("worker68.main", message())
    checked = check()
    assert (checked.exit_code, checked.verdict("list worker68.ghost")) == (1, "wrong")
    assert checked.verdict("list worker68.main") == "unsaid", "it is left to its owner"

    client.set("worker68:lease:account:ghost", "host-9|1")
    assert check().exit_code == 0, "a worker of other settings owns it"


@pytest.mark.parametrize("key", ["worker68.main:5", "worker68:5"])
def test_messages_of_a_priority_that_no_worker_reads_are_wrong(
    check: Check, worker: WorkerStatus, client: redis.Redis, key: str
) -> None:
    client.lpush(key, message())
    checked = check()
    assert (checked.exit_code, checked.verdict(f"list {key}")) == (1, "wrong")
    assert checked.findings[f"list {key}"]["found"].startswith("1 message ")
    assert "priority_steps" in checked.findings[f"list {key}"]["remedy"]


def test_a_task_sent_without_a_queue_is_wrong(check: Check, worker: WorkerStatus, client: redis.Redis) -> None:
    client.lpush("celery", message("others.task"))
    assert check().verdict("list celery") == "unsaid"
    client.lpush("celery", message())
    checked = check()
    assert (checked.exit_code, checked.verdict("list celery")) == (1, "wrong")
    assert checked.findings["list celery"]["found"].startswith("1 task ")
    assert "queue=" in checked.findings["list celery"]["remedy"]


def test_unread_replies_are_said_and_many_or_old_ones_are_a_warning(
    check: Check, worker: WorkerStatus, client: redis.Redis
) -> None:
    client.rpush("worker68:replies:orders", "one", "two")
    client.xadd("worker68:replies:orders:stream", {"reply": "read or not, it stays"})
    now = f"{utc_now().timestamp():.0f}"
    client.rpush("worker68:replies:orders:marks", f"{now}:two")
    checked = check()
    assert (checked.exit_code, checked.verdict("replies")) == (0, "ok")
    assert checked.findings["replies"]["found"] == "2 unread in 1 list: orders (2)"

    client.lset("worker68:replies:orders:marks", 0, f"{utc_now().timestamp() - 90_000:.0f}:two")
    assert check().verdict("replies") == "warning"

    for number in range(3):  # longer ones, whose replies are new
        client.rpush(f"worker68:replies:new{number}", *range(3))
        client.rpush(f"worker68:replies:new{number}:marks", f"{now}:two")
    assert check().verdict("replies") == "warning"

    client.delete("worker68:replies:orders:marks")
    client.rpush("worker68:replies:others", *range(10_000))
    assert (check().exit_code, check().verdict("replies")) == (0, "warning")


def test_jobs_in_doubt_of_a_day_are_a_warning(check: Check, worker: WorkerStatus, ledger: Ledger) -> None:
    doubt = in_doubt(ErrorCode.NO_VERDICT, "silence")
    for ended in (utc_now() - HOUR, utc_now() - 25 * HOUR):
        ledger.settle(ledger.must_begin(ledger.send()), doubt, ended)
    resolved = ledger.send()
    ledger.settle(ledger.must_begin(resolved), doubt, utc_now())
    assert ledger.revise(resolved.seq)
    ledger.settled()
    checked = check()
    assert (checked.exit_code, checked.verdict("jobs in doubt of main")) == (0, "warning")
    assert checked.findings["jobs in doubt of main"]["found"] == "1 job within 24 hours"


def test_a_job_that_could_have_run_long_ago_is_a_warning(check: Check, worker: WorkerStatus, ledger: Ledger) -> None:
    ledger.send(now=utc_now())
    assert check().verdict("jobs of main") == "ok"

    ledger.send(now=utc_now() - 3 * HOUR)
    checked = check()
    assert (checked.exit_code, checked.verdict("jobs of main")) == (0, "warning")
    assert (
        "2 jobs unfinished; the oldest that could run has waited for 3 h" in checked.findings["jobs of main"]["found"]
    )

    pauses.pause(ledger.engine, "main", "why not", "ann", utc_now())
    assert check().verdict("jobs of main") == "ok"


def test_a_deferred_job_is_not_late(check: Check, worker: WorkerStatus, ledger: Ledger) -> None:
    ledger.send(send_at="2999-01-01T00:00:00Z", now=utc_now() - 3 * HOUR)
    assert check().verdict("jobs of main") == "unsaid"


def test_a_job_whose_back_off_is_long_over_is_late(check: Check, worker: WorkerStatus, ledger: Ledger) -> None:
    job = ledger.send(now=utc_now() - 5 * HOUR)
    tried_again = {"state": State.DEFERRED, "attempts": 1, "due_at": utc_now() - 3 * HOUR}
    ledger.run(lambda connection: connection.execute(update(jobs).where(jobs.c.seq == job.seq).values(tried_again)))
    checked = check()
    assert checked.verdict("jobs of main") == "warning"
    assert "1 job unfinished; the oldest that could run has waited for 3 h" in checked.findings["jobs of main"]["found"]


def test_jobs_of_an_account_that_is_set_up_no_more_are_wrong(
    check: Check, worker: WorkerStatus, ledger: Ledger
) -> None:
    ledger.arrive(message(kwargs=send_fields(account="other")))
    checked = check()
    assert (checked.exit_code, checked.verdict("jobs of other")) == (1, "wrong")


def test_replies_that_are_not_published_are_a_warning(check: Check, worker: WorkerStatus, ledger: Ledger) -> None:
    job = ledger.send(reply_to="orders")
    ledger.settle(ledger.must_begin(job), now=utc_now())
    assert check().verdict("outbox") == "unsaid"
    other = ledger.send(reply_to="orders")
    ledger.settle(ledger.must_begin(other), now=utc_now() - HOUR)
    assert (check().exit_code, check().verdict("outbox")) == (0, "warning")


def test_a_redis_that_is_not_as_it_should_be_does_not_cost_the_worker_its_connection(
    check: Check, worker: WorkerStatus, client: redis.Redis, bridge: Simulator
) -> None:
    client.config_set("maxmemory", 10**9)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        checked = check()
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
    assert checked.verdict("redis") == "wrong"
    assert "holds its one connection" in checked.findings["bridge of main"]["found"]
    assert not bridge.connections


def test_a_right_that_is_missing_does_not_hide_what_else_is_found(
    run: Run,
    redis_url: str,
    sqlite_url: str,
    ledger: Ledger,
    worker: WorkerStatus,
    client: redis.Redis,
    bridge: Simulator,
) -> None:
    ledger.arrive(message(kwargs=send_fields(account="other")))
    client.acl_setuser("half", enabled=True, nopass=True, keys="*", commands=["+@all", "-scan", "-mget", "-llen"])
    url = f"redis://half:any@{redis_url.rpartition('@')[2].removeprefix('redis://')}"
    try:
        done = run("check", "--json", REDIS_URL=url, DATABASE_URL=sqlite_url, BRIDGE_URL=bridge.url)
    finally:
        client.acl_deluser("half")
    findings = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (1, "")
    refused = [one["found"] for one in findings if "no permissions" in one["found"]]
    assert refused
    assert len(refused) == len(set(refused)), "each missing right once"
    assert "jobs of other" in {one["part"] for one in findings}
    assert not bridge.connections, "a worker may hold its one connection"


def test_without_redis_no_bridge_is_connected_to(check: Check, redis_server: EmbeddedRedis, bridge: Simulator) -> None:
    redis_server.kill()
    try:
        checked = check()
    finally:
        redis_server.restart()
    assert checked.verdict("redis") == "wrong"
    assert checked.findings["bridge of main"]["ok"]
    assert not bridge.connections


def test_a_master_of_sentinels_is_looked_at_for_a_failover(run: Run, sqlite_url: str, ledger: Ledger) -> None:
    def look(url: str) -> dict[str, Any]:
        done = run("check", "--json", REDIS_URL=url, DATABASE_URL=sqlite_url, BRIDGE_URL="ws://127.0.0.1:1")
        found: dict[str, Any] = next(one for one in json.loads(done.stdout) if one["part"] == "redis")
        return found

    with EmbeddedRedis(append_only=True) as master, watched(master) as pair, connect(master.url) as client:
        found = look(pair.url)
        assert found["warning"]
        assert "min-replicas-to-write" in found["remedy"]
        client.config_set("min-replicas-to-write", 1)
        assert not look(pair.url)["warning"]
        client.config_set("min-replicas-to-write", 0)
        pair.replica.kill()
        wait_until(lambda: "no replica" in look(pair.url)["found"])
        other = look(pair.url.replace("mymaster", "other"))
    assert not other["ok"]
    assert other["found"].startswith("Redis at the master other of the sentinels 127.0.0.1:1, 127.0.0.1:")
    assert "no master of this name" in other["found"]
