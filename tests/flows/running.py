"""Commands as users run them, in processes that a test may kill; and what the API tells about runs."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from flows.server.background_processes import family, survivors
from storage.result_folder import Result
from storage.workspace import Workspace


def mscl(*arguments: str | Path, api: str | None = None, **variables: str) -> subprocess.Popen[str]:
    """`mscl ARGUMENTS` in a process group of its own, against that Prefect API."""
    environment = os.environ | variables | ({"PREFECT_API_URL": api} if api else {}) | {"COLUMNS": "200"}
    # Where the tests themselves run in the background, Ctrl-C is switched off, and children inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from flows.cli.app import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finished(*arguments: str | Path, api: str | None = None, timeout: float = 240, **variables: str) -> tuple[int, str]:
    """Exit code and output of a command that ends by itself."""
    process = mscl(*arguments, api=api, **variables)
    output, _ = process.communicate(timeout=timeout)
    return process.returncode, output


def wait_until(what: Callable[[], bool], *, seconds: float, why: str) -> None:
    """Poll; AssertionError with `why` when it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if what():
            return
        now = time.monotonic()
        assert now < deadline, f"not within {seconds} s: {why}"
        time.sleep(max(0.05, min(now - asked, 1.0)))  # a server that answers slowly has other work


def no_survivors(family_before: set[psutil.Process], *, seconds: float = 60) -> None:
    """All these processes are gone."""
    wait_until(lambda: not survivors(family_before), seconds=seconds, why=f"{family_before} have ended")


def listening(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket on which a process waits for others; none if it has ended."""
    try:
        found = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return set()
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}


def is_loopback(address: str) -> bool:
    """Whether nobody outside this machine reaches a socket of that address."""
    found = ipaddress.ip_address(address)
    # ::ffff:127.0.0.1 is what an IPv6 socket that is bound to 127.0.0.1 calls itself.
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def committed(workspace: Path, shards: int = 1) -> bool:
    """Whether extraction has committed that many shards; a moment later a small set may be done."""
    return any(len(log.read_text().splitlines()) >= shards for log in workspace.glob("extract/*/commits.jsonl"))


def checkpointed(workspace: Path) -> bool:
    """Whether pre-training has left a checkpoint and is not done."""
    return any(
        not (path.parents[1] / "record.json").exists() for path in workspace.glob("pretrain/*/checkpoints/step-*.pt")
    )


def ranks(pid: int) -> list[int]:
    """Training processes among a process's descendants."""
    commands = {child.pid: command(child) for child in family(pid)}
    # The agent's command line names the module, too, as what it is to start.
    return [
        child
        for child, words in commands.items()
        if "mscl.training.rank" in words and "mscl.training.agent" not in words
    ]


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def digests(result: Result) -> dict[str, str]:
    """File -> digest of a result, but for the order in which shards were committed and for clocks."""
    clocks = ("commits.jsonl", "metrics.jsonl", "train.log", "job.json", "tensorboard")
    return {file.path: file.digest for file in result.record.files if not file.path.startswith(clocks)}


def only(workspace: Path, stage: str) -> Result:
    """The one finished result of a stage."""
    (result,) = Workspace(workspace).results(stage)
    return result


def flow_runs(**filters: Any) -> list[Any]:
    """Flow runs of the server, the latest first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        return list(client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, **filters))


def task_runs(flow_run: object) -> list[Any]:
    """Task runs of a flow run, by its id. The server writes them down from events, a moment after they happen."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    chosen = FlowRunFilter.model_validate({"id": {"any_": [flow_run]}})
    with get_client(sync_client=True) as client:
        return list(client.read_task_runs(flow_run_filter=chosen))


__all__ = [
    "checkpointed", "committed", "digests", "family", "finished", "flow_runs", "is_loopback",
    "listening", "mscl", "no_survivors", "only", "ranks", "task_runs", "wait_until",
]  # fmt: skip
