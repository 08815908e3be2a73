"""A child process dies with the process that started it, whichever thread that was; its end is asked for, and then forced."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parts.processes import start_parent
from tests.parts.worker import wait_until
from worker68.child import bound_to_parent, end_process, start_child

#: A program that says that it has begun, and then waits for its end. What it does at a SIGTERM comes before.
WAITS = "touch began; while :; do sleep 0.01; done"
ENDS_IN_ORDER = f"trap 'touch ended; exit 7' TERM; {WAITS}"
#: One that ends by itself, well, as soon as it may.
MAY_END = "touch began; until [ -e may_end ]; do sleep 0.01; done"

Child = subprocess.Popen[bytes]
Start = Callable[[str], Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program of the shell in the test's folder, and return when it has begun."""
    started: list[Child] = []

    def start(program: str) -> Child:
        started.append(start_child(["/bin/sh", "-c", program], tmp_path / "said"))
        wait_until((tmp_path / "began").exists)
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.wait()


def has_keeper() -> bool:
    return any(thread.name == "keeper of sh" for thread in threading.enumerate())


class TestStart:
    def test_it_writes_to_its_file_all_that_it_says_in_the_folder_of_that_file(self, tmp_path: Path) -> None:
        child = start_child(["/bin/sh", "-c", "pwd; echo wrong >&2; cat; exit 3"], tmp_path / "said")
        assert child.wait() == 3
        assert (tmp_path / "said").read_text() == f"{tmp_path}\nwrong\n"

    def test_it_has_a_session_of_its_own(self, start: Start) -> None:
        child = start(WAITS)
        assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid

    def test_it_outlives_the_thread_that_started_it(self, start: Start, tmp_path: Path) -> None:
        started: list[Child] = []
        starter = threading.Thread(target=lambda: started.append(start(MAY_END)))
        starter.start()
        starter.join()
        wait_until(lambda: not Path(f"/proc/self/task/{starter.native_id}").exists())
        assert has_keeper(), "the kernel ties it to a thread, which must stay"
        (tmp_path / "may_end").touch()
        assert started[0].wait() == 0
        wait_until(lambda: not has_keeper())

    def test_a_program_that_is_not_there_ends_at_once_and_says_so(self, tmp_path: Path) -> None:
        child = start_child([tmp_path / "nothing"], tmp_path / "said")
        assert child.wait() != 0
        assert "No such file or directory" in (tmp_path / "said").read_text()

    def test_a_file_that_cannot_be_written_is_an_error_of_the_caller(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            start_child(["/bin/sh", "-c", WAITS], tmp_path / "nowhere" / "said")

    @pytest.mark.timeout(60)
    def test_words_that_no_program_can_be_given_are_an_error_of_the_caller(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="null byte"):
            start_child(["/bin/echo", "a\0b"], tmp_path / "said")


class TestDeathWithTheParent:
    def test_it_gets_the_signal_that_was_asked_for(self, tmp_path: Path) -> None:
        words, output = ["/bin/sh", "-c", ENDS_IN_ORDER], str(tmp_path / "said")
        program = (
            "import pathlib, signal; from worker68.child import start_child; "
            f"start_child({words!r}, pathlib.Path({output!r}), death_signal=signal.SIGTERM); input()"
        )
        with start_parent(program, {}) as parent:
            wait_until((tmp_path / "began").exists)
            assert not (tmp_path / "ended").exists()
            parent.kill()
        wait_until((tmp_path / "ended").exists)

    def test_where_the_parent_has_died_before_the_program_does_not_begin(self) -> None:
        """Between the two stands a process that starts it in the place of this one."""
        words = bound_to_parent(["/bin/echo", "begun"], signal.SIGKILL)
        done = subprocess.run(["/bin/sh", "-c", '"$@"; exit $?', "sh", *words], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert "the parent is gone" in done.stderr


class TestEnd:
    def test_one_that_ends_in_order_is_left_to_it(self, start: Start, tmp_path: Path) -> None:
        child = start(ENDS_IN_ORDER)
        end_process(child, signal.SIGTERM, 60.0)
        assert child.returncode == 7
        assert (tmp_path / "ended").exists()

    def test_one_that_does_not_end_is_killed_after_the_grace(self, start: Start) -> None:
        child = start(f"trap '' TERM; {WAITS}")
        end_process(child, signal.SIGTERM, 0.05)
        assert child.returncode == -signal.SIGKILL

    def test_one_that_stands_still_ends_in_order_too(self, start: Start) -> None:
        child = start(ENDS_IN_ORDER)
        child.send_signal(signal.SIGSTOP)
        end_process(child, signal.SIGTERM, 60.0)
        assert child.returncode == 7

    def test_one_that_has_ended_is_left_alone(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "may_end").touch()
        child = start(MAY_END)
        assert child.wait() == 0
        end_process(child, signal.SIGTERM, 0.0)
        assert child.returncode == 0
