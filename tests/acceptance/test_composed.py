"""The whole of docker-compose.yml as it runs: Redis, PostgreSQL, migrations, two workers, Flower and the simulator.

One project serves all tests here. What is looked at is what an operator looks at: health, metrics, `top`, Flower.
"""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
from celery import Celery
from flower.urls import handlers

from tests.acceptance.conftest import GROUP_CHAT, SEND
from tests.parts.composed import Composed, NotSet
from tests.parts.worker import PATIENCE_SECONDS, wait_until

VARIABLES = {
    "REDIS_PASSWORD": "redis-secret",
    "POSTGRES_PASSWORD": "postgres-secret",
    "FLOWER_BASIC_AUTH": "night:flower-secret",
    "WORKER68_BRIDGE_URL": "ws://simulator:5600",
    "SIMULATOR_VERDICT_DELAY": "1.5",
}
WORDS = "nobody but the chat may read this"

#: Every path of this Flower but those that tell nothing: styles, the login page, "OK".
TELL_NOTHING = {"/static/x", "/login/?", "/logout", "/healthcheck", ".*"}
PATTERNS = [str(route.regex.pattern if hasattr(route, "regex") else route[0]) for route in handlers]
PATHS = sorted({re.sub(r"\(.*\)", "x", pattern).rstrip("$") for pattern in PATTERNS} - TELL_NOTHING)


class Project:
    """The running project, and what its neighbours see of it."""

    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        self.redis_url = f"redis://:redis-secret@127.0.0.1:{composed.ports['6379']}/0"
        self.celery = Celery("producer", broker=self.redis_url, backend=self.redis_url, set_as_current=False)

    def close(self) -> None:
        self.celery.backend.result_consumer.stop()
        self.celery.backend.result_consumer.subscribed_to.clear()
        self.celery.backend.client.close()
        self.celery.close()

    def send(self, words: str, **options: Any) -> Any:
        return self.celery.send_task(SEND, queue="worker68.main", kwargs={"chat": GROUP_CHAT, "text": words}, **options)

    def flower(
        self, path: str, *, password: str | None = "night:flower-secret", method: str = "GET"
    ) -> tuple[int, str]:
        """Ask Flower; return its status and what it says."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.composed.ports['5555']}{path}", method=method)
        if method == "POST":
            request.data = b""
        if password is not None:
            request.add_header("Authorization", f"Basic {base64.b64encode(password.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def flower_state(self, task_id: str) -> str | None:
        """Return in which state Flower shows a task, None where it does not know it yet."""
        status, text = self.flower(f"/api/task/info/{task_id}")
        return json.loads(text)["state"] if status == 200 else None

    def wait_for_flower(self, task_id: str, state: str) -> None:
        wait_until(lambda: self.flower_state(task_id) == state, self.logs)

    def queues_in_flower(self) -> set[str]:
        """Return the queues of the workers that answer Flower now."""
        self.flower("/api/workers?refresh=1")
        return {queue["name"] for queue in json.loads(self.flower("/api/queues/length")[1])["active_queues"]}

    def metrics(self) -> str:
        """Return the metrics of all workers."""
        pages = []
        for worker in self.composed.containers["worker"]:
            with urllib.request.urlopen(f"http://127.0.0.1:{worker.ports['9468']}/metrics") as answer:
                pages.append(answer.read().decode())
        return "\n".join(pages)

    def logs(self) -> str:
        return "\n".join(one.said() for there in self.composed.containers.values() for one in there)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    composed = Composed(tmp_path_factory.mktemp("composed"), VARIABLES)
    try:
        composed.up(profiles=["simulator"], scale={"worker": 2})
        running = Project(composed)
        yield running
        running.close()
        assert "simulator_clients_overlap" not in composed.containers["simulator"][0].log.read_text()
    finally:
        codes = composed.down()
    # Flower ends in order on SIGTERM; the simulator says 130 for it; Docker ended nothing by force.
    assert codes["migrate"] == [0]
    assert codes["worker"] == [0, 0], project_log(composed)
    assert all(code >= 0 for ended in codes.values() for code in ended), codes


def project_log(composed: Composed) -> str:
    return composed.containers["worker"][0].said()


def test_jobs_go_through_and_are_in_postgresql(project: Project) -> None:
    result = project.send(WORDS)

    assert result.get(timeout=PATIENCE_SECONDS)["status"] == "succeeded"
    settings = project.composed.containers["worker"][0].environment
    with psycopg.connect(settings["WORKER68_DATABASE_URL"].replace("+psycopg", "")) as ledger:
        row = ledger.execute("SELECT state, status FROM jobs WHERE job_id = %s", [result.id]).fetchone()
    assert row == ("ended", "succeeded")


def test_redis_keeps_what_it_answered(project: Project) -> None:
    with redis.Redis.from_url(project.redis_url, decode_responses=True) as client:
        configured: dict[str, str] = client.config_get("append*")
        configured |= client.config_get("maxmemory-policy")
    assert configured["appendonly"] == "yes"
    assert configured["appendfsync"] == "always"
    assert configured["maxmemory-policy"] == "noeviction"


def test_health_says_yes_and_no(project: Project) -> None:
    well = project.composed.run("worker", "worker68", "health")
    assert (well.returncode, well.stderr) == (0, "")

    elsewhere = project.composed.run("simulator", "worker68", "health")
    assert elsewhere.returncode == 1
    assert "not healthy" in elsewhere.stderr


def test_metrics_of_all_workers_count_each_job_once(project: Project) -> None:
    project.send("counted").get(timeout=PATIENCE_SECONDS)

    page = project.metrics()
    assert page.count('worker68_lease_held{lease="account:main"} 1.0') == 1
    assert page.count('worker68_bridge_ready{account="main"}') == 1
    assert 'status="succeeded",task="worker68.send_message"' in page
    assert page.count("worker68_healthy 1.0") == 2
    for name in (
        "worker68_writer_seconds",
        "worker68_relay_seconds",
        "worker68_scheduler_seconds",
        "worker68_run_seconds",
    ):
        assert f"{name}_bucket" in page
    assert str(GROUP_CHAT["id"]) not in page


def test_top_shows_accounts_and_workers(project: Project) -> None:
    seen = project.composed.run("worker", "worker68", "top", "--once", "--json")

    assert seen.returncode == 0, seen.stderr
    overview = json.loads(seen.stdout)
    (account,) = overview["accounts"]
    assert (account["account"], account["bridge"], account["pace"]) == ("main", "ready", 1.0)
    assert account["owner"] in {worker["worker"] for worker in overview["workers"]}
    assert len(overview["workers"]) == 2
    assert overview["problems"] == []


class TestFlower:
    def test_it_shows_tasks_workers_and_queues(self, project: Project) -> None:
        result = project.send(WORDS)
        result.get(timeout=PATIENCE_SECONDS)

        project.wait_for_flower(result.id, "SUCCESS")
        assert json.loads(project.flower(f"/api/task/info/{result.id}")[1])["name"] == SEND
        # Each of the two workers names what it owns, and Flower does not wait for a slow one.
        wait_until(lambda: {"worker68", "worker68.main"} <= project.queues_in_flower(), project.queues_in_flower)

    def test_a_job_that_waits_is_deferred_then_resumed(self, project: Project) -> None:
        # Its verdict comes late: Flower is shown what happens once a second at best, and two things at once hide the first.
        result = project.send("!sim:late:8s", countdown=12)

        project.wait_for_flower(result.id, "DEFERRED")
        project.wait_for_flower(result.id, "RESUMED")
        project.wait_for_flower(result.id, "SUCCESS")

    def test_a_waiting_job_that_is_cancelled_is_shown_so(self, project: Project) -> None:
        result = project.send(WORDS, countdown=3600)
        project.wait_for_flower(result.id, "DEFERRED")

        project.celery.control.revoke(result.id)

        project.wait_for_flower(result.id, "CANCELLED")

    def test_no_message_text_is_anywhere_in_it(self, project: Project) -> None:
        result = project.send(WORDS)
        result.get(timeout=PATIENCE_SECONDS)
        project.wait_for_flower(result.id, "SUCCESS")

        pages = (
            "/api/tasks",
            f"/api/task/info/{result.id}",
            f"/task/{result.id}",
            "/api/workers",
            "/tasks",
            "/metrics",
        )
        for page in pages:
            status, text = project.flower(page)
            assert status == 200, page
            assert "nobody but the chat" not in text, page
        assert result.id in project.flower("/api/tasks")[1]
        # Replies hold what producers and the service put into them: Flower is not given the results.
        assert project.flower(f"/api/task/result/{result.id}")[0] == 503

    @pytest.mark.parametrize("path", PATHS)
    def test_nothing_is_told_without_the_password(self, project: Project, path: str) -> None:
        for method in ("GET", "POST"):
            status, text = project.flower(path, password=None, method=method)
            assert status in (401, 405), (method, path, text)
            assert "worker68" not in text
        assert project.flower(path, password="night:guessed")[0] in (401, 405)

    def test_only_a_look_is_allowed(self, project: Project) -> None:
        assert project.flower(f"/api/task/async-apply/{SEND}", method="POST")[0] == 403
        assert project.flower("/api/worker/shutdown/celery@x", method="POST")[0] == 403


@pytest.mark.parametrize("name", ["REDIS_PASSWORD", "POSTGRES_PASSWORD", "FLOWER_BASIC_AUTH"])
def test_what_must_be_set_is_named(project: Project, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    composed = Composed(tmp_path_factory.mktemp("unset"), {**VARIABLES, name: ""})
    with pytest.raises(NotSet, match=f"{name}.*set {name}"):
        composed.interpolated()
