"""A stop is bounded: it goes on past what hangs, and in the last resort it ends the process, also where its log hangs."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest
import redis

from tests.parts.jobs import NOW
from tests.parts.worker import environment
from worker68 import runtime
from worker68.broker.bindings import KEYS
from worker68.errors import SettingsError
from worker68.fleet.leases import Lease, account_lease
from worker68.runtime import Runtime
from worker68.settings import Settings
from worker68.store.accounts import change_account, read_accounts
from worker68.store.engine import Engine
from worker68.store.migration import upgrade

#: A process whose stop is asked for and never comes to an end by itself. What hangs is given as the argument.
STOPS_FOR_EVER: Final = """
import ctypes, faulthandler, os, sys, threading
from worker68 import runtime, watchdog
from worker68.runtime import Runtime
from worker68.observe.logs import configure_logs
from worker68.settings import load_settings

runtime.CUT_AFTER_SECONDS, watchdog.END_AFTER_SECONDS, watchdog.ASK_SECONDS = 0.1, 0.2, 0.05
# What cannot say anything is ended without its last words; the others have time for them.
watchdog.LAST_WORDS_SECONDS = 0.1 if sys.argv[1] in ("log", "interpreter") else 60.0
settings = load_settings()
configure_logs(settings)
built = Runtime(settings)
built.start()
if sys.argv[1] == "bridge":
    built._bridges.stop = threading.Event().wait
elif sys.argv[1] == "log":
    os.set_blocking(2, False)
    try:
        while os.write(2, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(2, True)
armed, arm = threading.Event(), faulthandler.dump_traceback_later
def arm_and_tell(*args, **options):
    arm(*args, **options)
    armed.set()
faulthandler.dump_traceback_later = arm_and_tell
built.ask_to_stop()
armed.wait()
if sys.argv[1] == "interpreter":
    ctypes.PyDLL(None).sleep(600)  # with the interpreter's lock
threading.Event().wait()
"""


@pytest.mark.parametrize("hangs", ["nothing", "log", "bridge", "interpreter"])
def test_a_stop_that_is_overdue_ends_the_process_whatever_hangs(tmp_path: Path, hangs: str) -> None:
    settings = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "BRIDGE_URL": "ws://127.0.0.1:1",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'worker68.db'}",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS_FOR_EVER, hangs], env=environment(settings), stderr=subprocess.PIPE
    )
    try:
        assert process.wait(60) == 1
    finally:
        process.kill()
        _, said = process.communicate()
    assert b"Traceback" not in said
    assert b"stop_overdue" in said or hangs in ("log", "interpreter")


def test_an_intake_that_hangs_does_not_keep_a_stop_from_recording_what_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that neither answers nor fails holds it up for ever; so long the bridges would be open, and nothing kept."""
    monkeypatch.setattr(runtime, "CUT_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(runtime, "STOP_SECONDS", 60.0)
    hangs, may_go_on = threading.Event(), threading.Event()

    def hang(engine: Engine) -> None:
        hangs.set()
        may_go_on.wait(120)

    monkeypatch.setattr(runtime, "check_version", hang)
    redis_url, database = "redis://127.0.0.1:1/0", f"sqlite:///{tmp_path / 'worker68.db'}"
    built = Runtime(Settings(redis_url=redis_url, bridge_url="ws://127.0.0.1:1", database_url=database))
    built.start()
    try:
        assert hangs.wait(60)
        built.stop()
        assert built._stopped.is_set()
    finally:
        may_go_on.set()


def test_an_account_of_the_database_is_enough(sqlite_url: str) -> None:
    upgrade(sqlite_url)
    built = Runtime(Settings(redis_url="redis://127.0.0.1:1/0", database_url=sqlite_url))
    try:
        with pytest.raises(SettingsError, match=r"no account: .*worker68 accounts add"):
            built.look_at_database()
        change_account(built.engine, "shop", lambda rows: {"bridge_url": "ws://127.0.0.1:1"}, "ann", NOW)
        built.look_at_database()
    finally:
        built.stop()
        built.loop.loop.close()


def test_an_account_is_opened_as_it_was_when_its_lease_began(sqlite_url: str, redis_url: str) -> None:
    """Else a worker that has not read the last change yet would connect to a bridge that was given to another account."""
    upgrade(sqlite_url)
    built = Runtime(Settings(redis_url=redis_url, database_url=sqlite_url, bridge_url="ws://127.0.0.1:1"))
    try:
        change_account(built.engine, "shop", lambda rows: {"bridge_url": "ws://127.0.0.1:2"}, "ann", NOW)
        built._accounts.look()
        change_account(built.engine, "shop", lambda rows: {"bridge_url": "ws://127.0.0.1:3"}, "ann", NOW)
        assert built._accounts["shop"].bridge_url == "ws://127.0.0.1:2"
        built._take_over(Lease(account_lease("shop"), "worker", 1, 0.0), "shop")
        assert built._accounts["shop"].bridge_url == "ws://127.0.0.1:3"
        assert not read_accounts(built.engine)[0].is_taken, "a lease that has ended says nothing"
        built._take_over(Lease(account_lease("shop"), "worker", 2, math.inf), "shop")
        assert read_accounts(built.engine)[0].is_taken
    finally:
        built.stop()
        built.loop.loop.close()


def test_an_account_whose_binding_redis_refuses_is_opened_and_the_key_is_named(sqlite_url: str, redis_url: str) -> None:
    upgrade(sqlite_url)
    built = Runtime(Settings(redis_url=redis_url, database_url=sqlite_url, bridge_url="ws://127.0.0.1:1"))
    key = KEYS[0] % "worker68.main"
    try:
        with redis.Redis.from_url(redis_url) as client:
            client.set(key, "no set")
        built._take_over(Lease(account_lease("main"), "worker", 1, math.inf), "main")
        built.bind_queues()
        assert [one.key for one in built._relay.refusals.now()] == [key]
    finally:
        built.stop()
        built.loop.loop.close()
