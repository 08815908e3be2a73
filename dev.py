#!/usr/bin/env python3
"""Prepares `.venv` from the lock and runs a command in it. Needs Python >= 3.11 and nothing else.

In: the repository, a package index (first time and after a change of the lock only). Out: `.venv`, and the command's exit code.
Never: a write outside the repository, other than pip's or uv's own cache; a change of the system's Python.
"""

import sys

# Before anything that an older Python 3 would stumble over.
if sys.version_info < (3, 11):  # noqa: UP036
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    sys.exit(f"dev.py needs Python >= 3.11, this is {here}: run it with a newer one, e.g. python3.11 dev.py")

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"

#: Everything that developing and testing needs; requirements.lock is what running in production needs.
LOCK = ROOT / "requirements-dev.lock"
RUNTIME_LOCK = ROOT / "requirements.lock"
#: The same with what the second image of the Dockerfile adds: Flower and the simulator.
TOOLS_LOCK = ROOT / "requirements-tools.lock"

#: Written last: a .venv without it was never finished. It tells what the .venv was made of.
STAMP = VENV / "made-from"

#: What tells pip, or uv, to install worker68 from this folder, with the setuptools of the lock and no look at the index.
ITSELF = ("--no-index", "--no-deps", "--no-build-isolation", "-e", str(ROOT))

COMMANDS = {
    "demo": "show worker68 at work: Redis, database, bridge and worker all embedded",
    "test": "check and test everything; the arguments go to pytest",
    "coverage": "run the tests and show which lines they do not reach",
    "check": "formatting, lint and types only",
    "run": "run the worker68 command with the arguments",
    "lock": "write the lock files anew from pyproject.toml (needs uv)",
}

CHECKS = (("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",))
#: Six files of tests at a time, the long ones first: most of their time is waiting, and each has its own servers.
TESTS = ("pytest", "--numprocesses=6", "--dist=loadfile", "--no-loadscope-reorder")
#: Which lines the tests run, also in the workers that they start. A command of its own: it slows every process down.
COVERAGE = ("--cov", "--cov-report=term")


class Failed(Exception):
    """What failed and what to do about it, for the person at the terminal."""


def main() -> int:
    command, rest = parse_arguments(sys.argv[1:])
    try:
        if command == "lock":
            return write_locks()
        prepare()
        if command == "test":
            return run_all([*CHECKS, (*TESTS, *rest)])
        if command == "coverage":
            return run_all([(*TESTS, *COVERAGE, *rest)])
        if command == "check":
            return run_all([*CHECKS])
        words = ["demo", *rest] if command == "demo" else rest
        return run([PYTHON, "-m", "worker68", *words])
    except Failed as failure:
        say(str(failure))
        return 1
    except Interrupted as interruption:
        return 128 + interruption.signal
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def parse_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the command and what follows it, which is for the program that the command runs."""
    parser = argparse.ArgumentParser(
        usage="dev.py [-h] COMMAND [ARGUMENT ...]",
        description="Prepares .venv from the lock and runs a command in it.",
        epilog="\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    command: str = parser.parse_args(arguments[:1]).command
    if arguments[1:] and command in ("check", "lock"):
        parser.error(f"{command} takes no arguments")
    return command, arguments[1:]


# Running


class Interrupted(Exception):
    """A signal asked us to end; the child has ended already."""

    def __init__(self, signum: int) -> None:
        self.signal = signum


def run(command: list[str | Path]) -> int:
    """Run a command to its end and return its exit code. Raises Interrupted, once it has ended, if we were asked to end.

    A Ctrl-C at the terminal reaches the child by itself, and twice would mean "now!" to it. Without a terminal it has a group
    of its own, so that it gets a signal exactly once, from us, whether it was meant for us or for our whole group.
    """
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    process: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def forward(signum: int, _frame: FrameType | None = None) -> None:
        received.append(signum)
        if process is not None and not (at_terminal and signum == signal.SIGINT):
            process.send_signal(signum)

    with handled(signal.SIGINT, forward), handled(signal.SIGTERM, forward):
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=child_environment(),
            process_group=None if at_terminal else 0,
            preexec_fn=die_with_parent,
        )
        if received:  # while it was being born
            forward(received[0])
        code = process.wait()
    if received:
        raise Interrupted(received[0])
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def handled(signum: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, previous)


def die_with_parent() -> None:
    """Ask the kernel to end this child when dev.py is killed. There are no threads in dev.py, so this is safe after fork."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGTERM), 0, 0, 0)


def child_environment() -> dict[str, str]:
    """Our environment, with the programs of .venv first and without what would let in packages from elsewhere."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment["PATH"] = os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", os.defpath)])
    environment["VIRTUAL_ENV"] = str(VENV)
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return environment


def run_all(steps: list[tuple[str, ...]]) -> int:
    """Run every step, also after a failed one, and say at the end which ones failed."""
    failed = []
    for module, *words in steps:
        say(" ".join([module, *words]))
        if run([PYTHON, "-m", module, *words]) != 0:
            failed.append(module if module != "ruff" else f"ruff {words[0]}")
    say("failed: " + ", ".join(failed) if failed else "all passed")
    return 1 if failed else 0


def say(text: str) -> None:
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


# Preparing


def prepare() -> None:
    """Bring .venv up to the lock. Two dev.py at once do this one after the other."""
    with Path(__file__).open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not up_to_date():
            make_venv()


def up_to_date() -> bool:
    try:
        same = STAMP.read_text() == fingerprint()
        return same and subprocess.run([PYTHON, "-c", ""], capture_output=True).returncode == 0
    except OSError:
        return False


def fingerprint() -> str:
    """What .venv depends on: the lock, how worker68 itself is installed, and the place (its scripts name it)."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    installed = [pyproject.get("build-system"), pyproject.get("project"), pyproject.get("tool", {}).get("setuptools")]
    return hashlib.sha256(json.dumps([LOCK.read_text(), installed, str(ROOT)]).encode()).hexdigest()


def make_venv() -> None:
    started = time.monotonic()
    uv = shutil.which("uv")
    if uv is None or not make_with_uv(uv):
        make_with_pip()
    STAMP.write_text(fingerprint())
    say(f".venv is ready ({time.monotonic() - started:.0f} s)")


def make_with_uv(uv: str) -> bool:
    say(f"making .venv with uv and Python {python_version()}")
    install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", PYTHON]
    steps: list[list[str | Path]] = [
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, VENV],
        [*install, "--require-hashes", "-r", LOCK],
        [*install, *ITSELF],
    ]
    if all(run(step) == 0 for step in steps):
        return True
    say("uv failed, see above: trying again with pip")
    return False


def make_with_pip() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise Failed(
            "this Python cannot make a virtual environment (no ensurepip): install your system's package for it "
            f"(Debian, Ubuntu: apt install python{python_version()}-venv) or uv, and run this again"
        )
    say(f"making .venv with pip and Python {python_version()}: about a minute, the next start takes none")
    if run([sys.executable, "-m", "venv", "--clear", VENV]) != 0:
        raise Failed(f"{sys.executable} -m venv failed, see above: mend that, or install uv, and run this again")
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--quiet", "--no-input"]
    if run([*pip, "--require-hashes", "-r", LOCK]) != 0:
        raise Failed(
            "pip could not install the dependencies, see above: is the package index within reach? Then run this again"
        )
    if run([*pip, *ITSELF]) != 0:
        raise Failed("pip could not install worker68 itself, see above: is pyproject.toml in order?")


def python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def write_locks() -> int:
    uv = shutil.which("uv")
    if uv is None:
        raise Failed("to write the locks uv is needed: see docs.astral.sh/uv, or pip install uv")
    # fmt: off
    compile_lock: list[str | Path] = [
        uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url",
        # pip takes the newest of a package whose extra is asked for and not pinned, and then refuses it for want of a hash.
        "--no-strip-extras", "--custom-compile-command", "python3 dev.py lock", "pyproject.toml",
    ]
    # fmt: on
    # Whatever is newer by now: all images have the same libraries.
    tools = ["--extra", "flower", "--extra", "simulator", "--constraint", LOCK.name]
    for lock, extras in ((LOCK, ["--all-extras"]), (RUNTIME_LOCK, []), (TOOLS_LOCK, tools)):
        if run([*compile_lock, *extras, "-o", lock]) != 0:
            raise Failed("uv could not write the lock, see above")
    say(f"wrote {LOCK.name}, {RUNTIME_LOCK.name} and {TOOLS_LOCK.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
