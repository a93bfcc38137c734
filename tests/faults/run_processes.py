"""The processes of `mscl run` in a workspace: started, found, killed and waited for."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from flows.server.background_processes import alive
from tests.faults.warm_commands import WarmCommand, WarmCommands

_SURVIVAL_SECONDS = 90.0
"""A killed run's training writes a last checkpoint and ends well within this time, however busy the machine."""
_RUN_VARIABLE = "MSCL_STORM_WORKSPACE"
"""Environment variable that all processes of a run have, whoever their parent is by now."""
_ROLES = {
    "agent": "mscl.training.agent",
    "rank": "mscl.training.rank",
    "fork server": "multiprocessing.forkserver",
    "worker": "multiprocessing.forkserver",
}
"""Word in the command line of the processes that a kill may hit, beside the command; workers are the fork server's."""
_CHOICES = (
    ("command",), ("group",), ("agent",), ("rank",), ("worker",), ("fork server",), ("agent", "rank"),
    ("command", "agent"), ("command", "rank"), ("command", "agent", "rank"), ("everything",),
)  # fmt: skip
_WITHOUT_TRAINING = (("command",), ("group",), ("everything",))
Command = subprocess.Popen[bytes] | WarmCommand


def run_once(
    config: Path, workspace: Path, *, settings: Sequence[str] = (), until: str = "", api: str | None = None,
    warm: WarmCommands | None = None,
) -> Command:  # fmt: skip
    """`mscl run` in a process group of its own, its output appended to a file beside the workspace."""
    variables = {"OMP_NUM_THREADS": "1", _RUN_VARIABLE: str(workspace)} | ({"PREFECT_API_URL": api} if api else {})
    command = ["run", str(config), *settings, "--workspace", str(workspace), *([] if api else ["--no-prefect"])]
    command += ["--until", until] if until else []
    log_file = workspace.with_suffix(".log")
    if warm is not None:
        return warm.start(command, variables, log_file)
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from flows.cli.app import main; main()", *command],
            env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def ends_within(process: Command, seconds: float) -> int | None:
    """Its exit code; None where it still runs."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def kill(process: Command, workspace: Path, rng: random.Random) -> tuple[str, ...]:
    """SIGKILL to one of the choices that is there; what it was."""
    there = _processes(workspace, process)
    of_role = {
        role: [one for one in there if word in _command(one) and (role == "worker") == _is_forked(one)]
        for role, word in _ROLES.items()
    }
    choices = [choice for choice in _CHOICES if all(of_role.get(role, there) for role in choice)]
    chosen = rng.choice(choices if of_role["rank"] else [c for c in choices if c in _WITHOUT_TRAINING])
    for role in chosen:
        if role == "group":
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        elif role == "command":
            with suppress(ProcessLookupError):
                process.kill()
        else:
            for victim in there if role == "everything" else [rng.choice(of_role[role])]:
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
    return chosen


def _processes(workspace: Path, command: Command) -> list[psutil.Process]:
    """All living processes of runs in this workspace, whoever is their parent."""
    forked = command.pid if command.returncode is None else None  # its environment is that of its parent
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):  # ended, or somebody else's
            if (one.pid == forked or one.environ().get(_RUN_VARIABLE) == str(workspace)) and alive(one):
                found.append(one)
    return sorted(found, key=lambda one: int(one.pid))


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_forked(process: psutil.Process) -> bool:
    """Whether a fork server made it: its command line is its parent's."""
    try:
        parent = process.parent()
        return parent is not None and "forkserver" in _command(parent) and "forkserver" in _command(process)
    except psutil.Error:
        return False


def all_gone(workspace: Path, command: Command) -> None:
    """Wait until no process of runs in this workspace is left."""
    deadline = time.monotonic() + _SURVIVAL_SECONDS
    while left := _processes(workspace, command):
        shown = [f"{one.pid} {_command(one)[-150:]}" for one in left]
        assert time.monotonic() < deadline, f"still there {_SURVIVAL_SECONDS:.0f} s after the kill: {shown}"
        time.sleep(0.1)
