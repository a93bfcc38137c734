"""Background processes end with all that they started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from flows.server import background_processes as processes

# A child in a session of its own that ignores SIGTERM, as a flow run may for a while.
PARENT = """
import subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
time.sleep(60)
"""


def test_all_descendants_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = processes.start([sys.executable, "-c", PARENT], pid_file=tmp_path / "pid", log=log)
    deadline = time.monotonic() + 20
    while "up" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    members = processes.family(process.pid)
    assert len(members) == 1
    assert {one.pid for one in processes.end(process.pid, grace_seconds=5)} == {process.pid, *(m.pid for m in members)}
    assert process.wait(5) != 0
    assert not processes.survivors(members)


@pytest.mark.parametrize(
    ("state", "process", "here", "elsewhere"),
    [
        ("Running", "ended", True, True),
        ("Paused", "ended", True, True),
        ("Running", "another's", False, False),  # such as of a second worker
        ("Running", "of another machine", True, False),  # our own server has none there
        ("Pending", "not noted yet", True, False),
        ("Suspended", "ended", False, False),
    ],
)
def test_down_says_only_of_its_own_runs_that_they_have_ended(
    state: str, process: str, here: bool, elsewhere: bool
) -> None:
    """At a server for several machines it marked the runs of all of them, which went on."""
    from prefect.client.schemas.objects import FlowRun, State, StateType

    from flows.server.service import has_ended_here

    ended = 2**22 + 1  # above Linux's largest id
    pid = {"ended": str(ended), "another's": str(os.getpid()), "of another machine": str(ended + 1)}.get(process)
    kind = StateType.PAUSED if state == "Suspended" else StateType(state.upper())
    run = FlowRun(flow_id=uuid4(), infrastructure_pid=pid, state=State(type=kind, name=state))
    assert has_ended_here(run, {ended}, is_ours=True) is here
    assert has_ended_here(run, {ended}, is_ours=False) is elsewhere


def test_a_pid_file_is_believed_only_where_the_process_fits(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    assert processes.running(pid_file, "python") is None
    pid_file.write_text("not a number")
    assert processes.running(pid_file, "python") is None
    process = processes.start(
        [sys.executable, "-c", "import time; time.sleep(60)"], pid_file=pid_file, log=tmp_path / "l"
    )
    try:
        deadline = time.monotonic() + 10  # between fork and exec the command line is still the parent's
        while processes.running(pid_file, "time.sleep") is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes.running(pid_file, "time.sleep") == process.pid
        assert processes.running(pid_file, "time.sleep", "prefect") is None
    finally:
        process.kill()
        process.wait()
    assert processes.running(pid_file, "time.sleep") is None


def test_the_environment_of_a_process(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"], env={"PREFECT_API_URL": "http://x/api?a=b"})
    try:
        deadline = time.monotonic() + 5
        while processes.variable(process.pid, "PREFECT_API_URL") is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert processes.variable(process.pid, "PREFECT_API_URL") == "http://x/api?a=b"
        assert processes.variable(process.pid, "OTHER") is None
    finally:
        process.kill()
        process.wait()
    assert processes.variable(process.pid, "PREFECT_API_URL") is None


def test_what_was_started_is_known_though_its_starter_was_killed_at_once(tmp_path: Path) -> None:
    """The command kills its starter before that can write anything down."""
    code = (
        "import sys, pathlib\n"
        "from flows.server.background_processes import start\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "command = ['sh', '-c', 'kill -9 $PPID; exec sleep 1000']\n"
        "start(command, pid_file=folder / 'pid', log=folder / 'log')\n"
        "import time; time.sleep(1000)\n"
    )
    starter = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60)
    assert starter.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10  # while it becomes `sleep`, its command line is empty for a moment
    while (pid := processes.running(tmp_path / "pid", "sleep")) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert pid is not None
    processes.end(pid, grace_seconds=5)
    assert processes.running(tmp_path / "pid", "sleep") is None
