"""``worker68 flower`` beside a worker: its buttons show a refusal as one, and the worker's page shows what waits."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import SEND, Stage, name
from tests.parts.worker import PATIENCE_SECONDS, environment, wait_until
from worker68.child import bound_to_parent, end_process

PASSWORD = "night:secret"
#: Longer than any test holds a verdict.
STAGE = {"VERDICT_TIMEOUT": 60}


class Flower:
    """``worker68 flower`` in which things may be changed."""

    def __init__(self, stage: Stage) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        command = (sys.executable, "-m", "worker68", "flower", "--address=127.0.0.1", f"--port={self._port}")
        settings = environment(stage.worker.settings)
        settings |= {"FLOWER_BASIC_AUTH": PASSWORD, "FLOWER_READ_ONLY": "false"}
        self._process = subprocess.Popen(
            bound_to_parent(command, signal.SIGKILL),
            env=settings,
            cwd=stage.worker.log_file.parent,
            stdin=subprocess.DEVNULL,
        )

    def close(self) -> None:
        end_process(self._process, signal.SIGTERM)

    def ask(self, path: str, **posted: str) -> tuple[int, str]:
        """Get a page, or post what a button does; return Flower's status and words, 0 where it does not listen yet."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}")
        request.add_header("Authorization", f"Basic {base64.b64encode(PASSWORD.encode()).decode()}")
        if posted:
            request.data = urllib.parse.urlencode(posted).encode()
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def worker(self) -> str | None:
        """Return the worker's name, once Flower knows it."""
        status, text = self.ask("/api/workers?refresh=1")
        return next(iter(json.loads(text)), None) if status == 200 else None


@pytest.fixture(scope="module")
def flower(shared_stage: Stage) -> Iterator[Flower]:
    flower = Flower(shared_stage)
    yield flower
    flower.close()


@pytest.fixture(scope="module")
def worker(shared_stage: Stage, flower: Flower) -> str:
    return wait_until(flower.worker, lambda: shared_stage.worker.last_words) or ""


#: What each button of Flower posts, and where. ``%s`` is the worker.
BUTTONS = {
    "pool_grow": ("/api/worker/pool/grow/%s", {"n": "1"}),
    "pool_shrink": ("/api/worker/pool/shrink/%s", {"n": "1"}),
    "pool_restart": ("/api/worker/pool/restart/%s", {"x": ""}),
    "autoscale": ("/api/worker/pool/autoscale/%s", {"min": "1", "max": "9"}),
    "add_consumer": ("/api/worker/queue/add-consumer/%s", {"queue": "elsewhere"}),
    "cancel_consumer": ("/api/worker/queue/cancel-consumer/%s", {"queue": "worker68.main"}),
    "rate_limit": (f"/api/task/rate-limit/{SEND}", {"ratelimit": "1/h"}),
    "time_limit": (f"/api/task/timeout/{SEND}", {"soft": "1", "hard": "2"}),
    "terminate": ("/api/task/revoke/never-seen", {"terminate": "true"}),
}


@pytest.mark.parametrize("command", BUTTONS)
def test_a_button_that_would_do_nothing_shows_the_refusal(flower: Flower, worker: str, command: str) -> None:
    path, posted = BUTTONS[command]

    def press() -> tuple[int, str] | None:
        """Flower waits a second for the worker's answer; a refusal may be asked for again."""
        status, text = flower.ask(path.replace("%s", worker), workername=worker, **posted)
        return None if "Unknown reason" in text or "No worker" in text else (status, text)

    status, text = wait_until(press) or (0, "")
    assert status == 403
    assert f"{command} is refused" in text
    assert "worker68 " in text


def test_revoke_shows_what_came_of_it(stage: Stage, flower: Flower, worker: str) -> None:
    waiting = stage.send(name(), send_at=4_000_000_000)
    stage.wait(lambda: stage.row(waiting.id))

    def revoke() -> str | None:
        status, text = flower.ask(f"/api/task/revoke/{waiting.id}", terminate="false")
        return json.loads(text)["message"] if status == 200 else None

    # Flower waits a second for the worker's answer; where that was too short it is asked again.
    assert wait_until(revoke) in (f"{waiting.id}: 1 cancelled", f"{waiting.id}: 1 cancelled before")
    assert stage.end_of(waiting)["status"] == "cancelled"


def test_the_page_of_a_worker_shows_its_jobs_without_their_text(stage: Stage, flower: Flower, worker: str) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, later, behind = name("secret"), name(), name()
    stage.send(words)
    stage.wait(lambda: stage.frames(words))
    stage.send(words, job_id=behind)
    scheduled = stage.send(words, job_id=later, send_at=4_000_000_000)
    stage.wait(lambda: stage.row(later))

    def show() -> str | None:
        """The page is empty of what the worker did not answer within Flower's second; then it may be asked for again."""
        status, page = flower.ask(f"/worker/{worker}")
        return page if status == 200 and later in page and behind in page else None

    assert words not in (wait_until(show) or "")
    scheduled.revoke()
    assert stage.end_of(scheduled)["status"] == "cancelled"
