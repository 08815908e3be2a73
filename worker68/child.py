"""Child processes that die with the one that started them, however that one ends.

In: a command. Out: a running process that no Ctrl-C reaches and no crash of ours leaves behind. Never: a guess by name or
number at processes of others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple


class RunAs(NamedTuple):
    """The system user that a program runs as."""

    uid: int
    gid: int


# PDEATHSIG is set by a small Python before it turns into the program: code run between fork and exec of a process with threads
# (preexec_fn) may deadlock. It comes after setuid, which clears it, and is followed by a look whether the parent died meanwhile.
_BIND: Final = """
import ctypes, os, sys
parent, death_signal, uid, gid, *command = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
if uid != "-":
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
PR_SET_PDEATHSIG = 1
if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
    sys.exit("prctl(PR_SET_PDEATHSIG): " + os.strerror(ctypes.get_errno()))
if os.getppid() != int(parent):
    sys.exit("the parent is gone")
os.execv(command[0], command)
"""


def bound_to_parent(
    command: Sequence[str | Path], death_signal: signal.Signals, run_as: RunAs | None = None
) -> list[str]:
    """Return the command line that runs ``command`` so that it gets ``death_signal`` when the thread that started it ends.

    Linux only; elsewhere the command comes back as it is. ``run_as`` needs root.
    """
    words = list(map(str, command))
    if sys.platform != "linux":
        return words
    uid, gid = run_as or ("-", "-")
    return [sys.executable, "-I", "-S", "-c", _BIND, *map(str, (os.getpid(), int(death_signal), uid, gid)), *words]


def start_child(
    command: Sequence[str | Path],
    output: Path,
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    run_as: RunAs | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a session of its own (no Ctrl-C reaches it), writing to ``output``; it dies with this process.

    The kernel ties a child to the *thread* that started it. That thread is one made for the purpose, which stays until the
    child has ended, so this may be called from any thread, also a short-lived one.
    """
    born: Future[subprocess.Popen[bytes]] = Future()
    words = bound_to_parent(command, death_signal, run_as)

    def keep() -> None:
        try:
            with output.open("wb") as stream:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    cwd=output.parent,
                    start_new_session=True,
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for it
            born.set_exception(error)
            return
        born.set_result(process)
        process.wait()

    threading.Thread(target=keep, name=f"keeper of {Path(command[0]).name}", daemon=True).start()
    return born.result()


def end_process(process: subprocess.Popen[bytes], first: signal.Signals, grace_seconds: float = 10.0) -> None:
    """End a process with ``first`` and, if it is still there after the grace, with SIGKILL; return when it is gone."""
    process.send_signal(signal.SIGCONT)
    process.send_signal(first)
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
