"""dev.py and the locks: what a newcomer meets first."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests.parts.processes import is_running
from worker68.clock import Deadline

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / "dev.py"
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-dev.lock", ROOT / "requirements-tools.lock")

#: Tells when it is ready, then how often it was interrupted, shortly after the first time (long enough for a second one).
CHILD = """
import signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.2)
print("interrupted", len(seen), flush=True)
"""


def load_dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", DEV)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """dev.py over an empty repository of its own."""
    module = load_dev()
    (tmp_path / "pyproject.toml").write_text("[project]\nversion = '1'\n")
    (tmp_path / "requirements-dev.lock").write_text("one==1")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "made-from")
    monkeypatch.setattr(module, "LOCK", tmp_path / "requirements-dev.lock")
    return module


@pytest.fixture
def steps(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What dev.py wanted to run. Steps with the word "uv" in place of a program fail, all others succeed."""
    seen: list[list[str]] = []

    def run(command: list[str | Path]) -> int:
        seen.append(list(map(str, command)))
        return 1 if seen[-1][0] == "uv" else 0

    monkeypatch.setattr(dev, "run", run)
    return seen


def finish_venv(dev: ModuleType) -> None:
    dev.PYTHON.parent.mkdir(parents=True)
    dev.PYTHON.symlink_to(sys.executable)
    dev.STAMP.write_text(dev.fingerprint())


class TestOldPython:
    def test_says_so_in_one_line(self) -> None:
        pretend = f"import sys; sys.version_info = (3, 9, 2); exec(open({str(DEV)!r}).read())"
        ended = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, timeout=180)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert ended.stderr.startswith("dev.py needs Python >= 3.11, this is 3.9")

    def test_is_parsed(self) -> None:
        ast.parse(DEV.read_text(), feature_version=(3, 7))


class TestLocks:
    @pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
    def test_every_requirement_is_pinned_and_hashed(self, lock: Path) -> None:
        requirements = re.split(r"\n(?=[a-z])", re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE))
        assert len(requirements) > 20
        for requirement in requirements:
            assert re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", requirement, re.DOTALL), (
                requirement
            )

    @pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
    def test_no_package_index_is_named(self, lock: Path) -> None:
        assert not re.findall(r"://|index-url|find-links|trusted-host", lock.read_text())

    def test_what_the_project_asks_for_is_locked(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = [name for extra in project["optional-dependencies"].values() for name in extra]
        assert wanted_names(project["dependencies"]) <= locked_versions(LOCKS[0]).keys()
        assert wanted_names(project["dependencies"] + extras) <= locked_versions(LOCKS[1]).keys()

    def test_extras_that_packages_ask_of_each_other_are_pinned_too(self) -> None:
        """Pip looks for the newest version of what is asked for with an extra that the lock does not name."""
        locked = set(re.findall(r"^([a-z0-9.-]+\[[a-z,]+\])==", LOCKS[1].read_text(), flags=re.MULTILINE))
        asked = {
            f"{requirement.name}[{','.join(sorted(requirement.extras))}]"
            for package in locked_versions(LOCKS[1])
            for requirement in requirements_of(package)
            if requirement.extras and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
        }
        assert asked
        assert asked <= locked

    def test_production_runs_what_was_tested(self) -> None:
        runtime, everything, tools = map(locked_versions, LOCKS)
        assert runtime.items() <= tools.items() <= everything.items()


def wanted_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=; ]", requirement)[0] for requirement in requirements}


def requirements_of(package: str) -> list[Requirement]:
    """Return what an installed package asks for; nothing of one that other machines need."""
    try:
        return [Requirement(text) for text in importlib.metadata.requires(package) or []]
    except importlib.metadata.PackageNotFoundError:
        return []


def locked_versions(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==(\S+)", lock.read_text(), flags=re.MULTILINE))


class TestUpToDate:
    def test_finished_venv_is_kept(self, dev: ModuleType) -> None:
        finish_venv(dev)
        assert dev.up_to_date()

    def test_absent_venv(self, dev: ModuleType) -> None:
        assert not dev.up_to_date()

    def test_half_made_venv(self, dev: ModuleType) -> None:
        finish_venv(dev)
        dev.STAMP.unlink()
        assert not dev.up_to_date()

    @pytest.mark.parametrize(
        ("name", "text", "kept"),
        [
            ("requirements-dev.lock", "one==2", False),
            ("pyproject.toml", "[project]\nversion = '2'\n", False),
            ("pyproject.toml", "[project]\nversion = '1'\n[tool.ruff]\nline-length = 99\n", True),
        ],
    )
    def test_changed_file(self, dev: ModuleType, tmp_path: Path, name: str, text: str, kept: bool) -> None:
        finish_venv(dev)
        (tmp_path / name).write_text(text)
        assert dev.up_to_date() is kept

    def test_vanished_interpreter(self, dev: ModuleType) -> None:
        finish_venv(dev)
        dev.PYTHON.unlink()
        dev.PYTHON.symlink_to("/nonexistent/python")
        assert not dev.up_to_date()

    def test_moved_repository(self, dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        finish_venv(dev)
        monkeypatch.setattr(dev, "ROOT", tmp_path / "." / "elsewhere")
        (tmp_path / "elsewhere").symlink_to(tmp_path)
        assert not dev.up_to_date()


class TestMakingVenv:
    def test_pip_takes_over_where_uv_fails(self, dev: ModuleType, steps: list[list[str]]) -> None:
        assert not dev.make_with_uv("uv")
        dev.make_with_pip()
        assert [step[1:3] for step in steps] == [["venv", "--quiet"], ["-m", "venv"], ["-m", "pip"], ["-m", "pip"]]

    def test_hashes_are_required(self, dev: ModuleType, steps: list[list[str]]) -> None:
        dev.make_with_uv("/usr/bin/uv")
        dev.make_with_pip()
        from_lock = [step for step in steps if str(dev.LOCK) in step]
        assert len(from_lock) == 2
        assert all("--require-hashes" in step for step in from_lock)

    def test_missing_ensurepip_names_the_package(
        self, dev: ModuleType, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(dev.Failed, match=r"apt install python3\.\d+-venv"):
            dev.make_with_pip()
        assert steps == []


class TestRunning:
    def test_every_step_runs_and_one_failure_is_enough(
        self, dev: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        finish_venv(dev)
        assert dev.run_all([("no_such_module",), ("this", "--help")]) == 1
        assert "failed: no_such_module" in capsys.readouterr().err

    def test_exit_code_is_the_childs(self, dev: ModuleType) -> None:
        assert dev.run([sys.executable, "-c", "raise SystemExit(7)"]) == 7

    def test_foreign_packages_stay_out(self, dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", "/somewhere")
        environment = dev.child_environment()
        assert "PYTHONPATH" not in environment
        assert environment["PATH"].startswith(str(dev.PYTHON.parent))

    @pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to dev.py", "to its group"])
    def test_interrupt_reaches_the_child_once_and_is_waited_for(self, send: Callable[[int, int], None]) -> None:
        with run_in_dev(CHILD) as process:
            assert read_line(process) == "ready"
            send(process.pid, signal.SIGINT)
            assert read_line(process) == "interrupted 1"
            assert process.wait(60) == 130

    def test_killed_dev_takes_its_child_along(self) -> None:
        with run_in_dev("import os, time; print(os.getpid(), flush=True); time.sleep(60)") as process:
            child = int(read_line(process))
            process.kill()
            process.wait(60)
            assert read_line(process) == ""  # end of file: nobody holds the pipe any more
            deadline = Deadline.after(60)
            while is_running(child):
                assert not deadline.passed


def run_in_dev(code: str) -> subprocess.Popen[str]:
    """Start a process that runs ``code`` in a child by way of dev.run, as ``dev.py run`` does."""
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import dev
try:
    sys.exit(dev.run([sys.executable, "-c", {code!r}]))
except dev.Interrupted as interruption:
    sys.exit(128 + interruption.signal)
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
