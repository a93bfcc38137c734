"""Background processes of ours: out of the terminal's reach, found again by a pid file, ended with all they started."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_POLL_SECONDS = 0.1


def start(
    command: Sequence[str],
    *,
    pid_file: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    umask: int = -1,
) -> subprocess.Popen[bytes]:
    """Start `command` in the background; Ctrl-C in this terminal does not reach it.

    It writes the pid file itself, before anything else: it is known also when this process is killed meanwhile.

    Args:
        log: gets its output, and is for this user alone.
        umask: of the process; -1 for that of this one.
    """
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    noted = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(pid_file), *command]
    pid_file.unlink(missing_ok=True)
    with open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as out:
        os.fchmod(out.fileno(), 0o600)  # an earlier version left it open to others
        process = subprocess.Popen(
            noted, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            umask=umask,
        )  # fmt: skip
    while process.poll() is None and not (pid_file.is_file() and pid_file.read_text().endswith("\n")):
        time.sleep(0.01)
    return process


def running(pid_file: Path, *words: str) -> int | None:
    """Process id from the file, if such a process runs; ids are used again, so its command line must hold `words`."""
    try:
        pid = int(pid_file.read_text())
        command = psutil.Process(pid).cmdline()
    except (FileNotFoundError, ValueError, psutil.Error):
        return None
    return pid if all(any(word in argument for argument in command) for word in words) else None


def variable(pid: int, name: str) -> str | None:
    """An environment variable that a process was started with; None where it was not, or is not ours to read."""
    try:
        environment: dict[str, str] = psutil.Process(pid).environ()
    except psutil.Error:
        return None
    return environment.get(name)


def end(pid: int, *, grace_seconds: float) -> set[psutil.Process]:
    """SIGTERM to a process; after it has ended, or after the grace, SIGKILL to all that it started and left behind.

    Flow runs of a worker lead sessions and groups of their own, so neither tells who belongs to it; parents do.

    Returns:
        The process and all that belonged to it; none where it had ended before.
    """
    try:
        process = psutil.Process(pid)
        members = {process} | family(pid)
        process.terminate()
    except psutil.NoSuchProcess:
        return set()
    deadline = time.monotonic() + grace_seconds
    while alive(process) and time.monotonic() < deadline:
        members |= family(pid)
        time.sleep(_POLL_SECONDS)
    # Until nobody is left who could start another.
    while left := survivors(members):
        for member in left:
            members |= family(member.pid)
            with suppress(psutil.NoSuchProcess):
                member.kill()
        time.sleep(_POLL_SECONDS)
    return members


def family(pid: int) -> set[psutil.Process]:
    """All living descendants of a process."""
    try:
        return set(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def survivors(members: Iterable[psutil.Process]) -> set[psutil.Process]:
    """Those that still run; a later process with the same id is not one of them."""
    return {member for member in members if alive(member)}


def alive(process: psutil.Process) -> bool:
    """Whether a process is there and has not ended; a zombie has."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
