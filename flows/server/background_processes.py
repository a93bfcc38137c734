"""Background processes of ours: out of the terminal's reach, found again by a pid file, ended with all they started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
    """SIGTERM to a process; after it has ended, or after the grace, SIGKILL to all that it started and left behind.

    Flow runs of a worker lead sessions and groups of their own, so neither tells who belongs to it; parents do.
    """
    members = {(pid, _started(pid))} | family(pid)
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + grace_seconds
    while alive(pid) and time.monotonic() < deadline:
        members |= family(pid)
        time.sleep(_POLL_SECONDS)
    # Until nobody is left who could start another.
    while left := survivors(members):
        for member, _ in left:
            members |= family(member)
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_POLL_SECONDS)


def family(pid: int) -> set[tuple[int, int]]:
    """(process id, start time) of all living descendants of a process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            children.setdefault(stat.parent, []).append(int(entry.name))
    found: set[tuple[int, int]] = set()
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.add((child, _started(child)))
            todo.append(child)
    return found


def survivors(members: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of `family`'s processes that still run; a later process with the same id is not one of them."""
    return {(pid, started) for pid, started in members if alive(pid) and _started(pid) == started}


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended; a zombie has."""
    stat = _stat(pid)
    return stat is not None and stat.state != "Z"


class _Stat(NamedTuple):
    state: str
    parent: int
    started: int
    """Clock ticks after boot: tells a process from a later one with the same id."""


def _started(pid: int) -> int:
    stat = _stat(pid)
    return stat.started if stat is not None else -1


def _stat(pid: int) -> _Stat | None:
    """See proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Stat(fields[0], int(fields[1]), int(fields[19]))
