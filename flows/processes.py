"""Background processes of ours: each leads a session of its own, is found again by a pid file, and ends as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_POLL_SECONDS = 0.1


def start(
    command: Sequence[str], *, pid_file: Path, log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` in the background; Ctrl-C in this terminal does not reach it, its output goes to `log`."""
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    pid_file.write_text(str(process.pid))
    return process


def running(pid_file: Path, *words: str) -> int | None:
    """Process id from the file, if such a process runs; ids are used again, so its command line must hold `words`."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
        return None
    return pid if all(any(word in argument for argument in command) for word in words) else None


def variable(pid: int, name: str) -> str | None:
    """An environment variable that a process was started with; None where it was not, or is not ours to read."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return dict(pair.partition("=")[::2] for pair in pairs).get(name)


def end(pid: int, *, grace_seconds: float) -> None:
    """SIGTERM to a process; after it has ended, or after the grace, SIGKILL to what is left of its session.

    A process that leads no session, such as a server that Prefect's own command put in the background,
    is ended alone: its session is a user's shell.
    """
    try:
        leads = os.getsid(pid) == pid
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + grace_seconds
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    left = session(pid) if leads else [pid] * _alive(pid)
    # From the flow processes' training agents to their ranks: until nobody is left who could start another.
    while left:
        for member in left:
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_POLL_SECONDS)
        left = session(pid) if leads else [pid] * _alive(pid)


def session(leader: int) -> list[int]:
    """Living processes of the session that `leader` leads or led."""
    return [pid for pid in _pids() if (found := _stat(pid)) is not None and found[1] == leader and found[0] != "Z"]


def _alive(pid: int) -> bool:
    found = _stat(pid)
    return found is not None and found[0] != "Z"


def _stat(pid: int) -> tuple[str, int] | None:
    """(state, session) of a process, see proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[3])


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
