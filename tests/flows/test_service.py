"""`mscl up`, deployments, worker and server, and what becomes of runs when each of them is killed.

Minutes long, on a server, worker and database of its own: `make faults`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.processes import family
from tests.flows.running import checkpointed, committed, digests, finished, no_survivors, only, wait_until

pytestmark = [pytest.mark.storm, pytest.mark.timeout(900)]

CHECKOUT = Path(__file__).resolve().parents[2]
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
LIMIT_SECONDS = 120 + 60
"""Two minutes after a fault a run has the right state; and a minute for a slow machine."""


@dataclass(frozen=True)
class Service:
    """A server and a worker on this machine, started by `mscl up`."""

    home: Path
    api: str
    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        return {"PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.api, "PWD": str(self.folder)}

    def mscl(self, *arguments: str | Path) -> tuple[int, str]:
        return finished(*arguments, timeout=400, **self.variables)

    def pid(self, name: str) -> int:
        return int((self.home / name).read_text())

    def call(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            self.api + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        for _ in range(10):  # SQLite was busy: as Prefect's own clients do
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(1)
        raise AssertionError(f"{method} {path}: 503 ten times over")

    def run(self, name: str, **parameters: object) -> str:
        """Id of a new run of a deployment."""
        deployment = self.call("GET", f"/deployments/name/{name}/{name}")
        return str(
            self.call("POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"]
        )

    def state(self, run: str) -> str:
        return str(self.call("GET", f"/flow_runs/{run}")["state_type"])

    def ends(self, run: str) -> str:
        wait_until(lambda: self.state(run) in ENDED, seconds=LIMIT_SECONDS, why=f"run {run} has ended")
        return self.state(run)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = Service(folder / "prefect", f"http://127.0.0.1:{port}/api", folder)
    code, output = service.mscl("up")
    assert code == 0, output
    assert f"http://127.0.0.1:{port}" in output
    yield service
    members = {pid for name in ("server.pid", "mscl-worker.pid") for pid in family(service.pid(name))}
    code, output = service.mscl("down")
    assert code == 0, output
    assert "server stopped" in output
    no_survivors(members)
    assert service.mscl("status")[0] == 1


@pytest.fixture(scope="module")
def expected(service: Service, tiny: Path) -> dict[str, str]:
    """Digests of an extraction that nobody disturbed."""
    workspace = service.folder / "undisturbed"
    assert service.ends(service.run("full", workspace=str(workspace), preset=str(tiny))) == "COMPLETED"
    return digests(only(workspace, "extract"))


def test_up_again_starts_nothing_new(service: Service) -> None:
    before = service.pid("server.pid"), service.pid("mscl-worker.pid")
    code, output = service.mscl("up")
    assert code == 0, output
    assert (service.pid("server.pid"), service.pid("mscl-worker.pid")) == before
    code, output = service.mscl("status")
    assert code == 0, output
    for name in ("full", "ingest", "extract", "report"):
        assert name in output


def test_prefect_s_own_command_deploys_without_questions(service: Service) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "deploy", "--all"], cwd=CHECKOUT, env=os.environ | service.variables,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert service.mscl("up")[0] == 0


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"presett": "demo"}, "presett"),
        ({"data": {"rot": "x"}}, "rot"),
        ({"pretrain": {"loss": {"temprature": 1}}}, "temprature"),
        ({"pretrain": {"epochs": 0}}, "pretrain.epochs"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_by_name(
    service: Service, parameters: dict[str, object], named: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        service.run("full", **parameters)
    assert refused.value.code == 409
    assert named in refused.value.read().decode()


def test_values_that_do_not_fit_together_fail_the_run_with_our_words(service: Service, tmp_path: Path) -> None:
    run = service.run("full", workspace=str(tmp_path / "ws"), preset="demo", pretrain={"batch_size": 3})
    assert service.ends(run) == "FAILED"
    assert "not divisible by batch_size 3" in service.call("GET", f"/flow_runs/{run}")["state"]["message"]


@pytest.mark.parametrize("during", ["extract", "pretrain"])
@pytest.mark.parametrize("fault", ["cancel", "kill the run", "kill the worker"])
def test_a_fault_leaves_nothing_running_and_the_next_run_finishes(
    service: Service, expected: dict[str, str], tiny: Path, tmp_path: Path, during: str, fault: str
) -> None:
    workspace = tmp_path / "workspace"
    reached = committed if during == "extract" else checkpointed
    run = service.run("full", workspace=str(workspace), preset=str(tiny))
    wait_until(lambda: reached(workspace), seconds=300, why=f"the run is in {during}")
    members = family(service.pid("mscl-worker.pid"))
    (flow_process,) = [pid for pid, _ in members if _parent(pid) == service.pid("mscl-worker.pid")]
    if fault == "cancel":
        service.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        assert service.ends(run) == "CANCELLED"
    elif fault == "kill the run":
        os.kill(flow_process, signal.SIGKILL)
        assert service.ends(run) == "CRASHED"
    else:
        os.kill(service.pid("mscl-worker.pid"), signal.SIGKILL)
        assert service.ends(run) in {"COMPLETED", "CRASHED"}  # the run goes on alone, or ends with its worker
    no_survivors(members, seconds=90)
    assert service.mscl("up")[0] == 0
    again = service.run("full", workspace=str(workspace), preset=str(tiny))
    assert service.ends(again) == "COMPLETED"
    assert digests(only(workspace, "extract")) == expected


def test_a_server_that_is_gone_for_half_a_minute(service: Service, tiny: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    run = service.run("full", workspace=str(workspace), preset=str(tiny))
    wait_until(lambda: committed(workspace), seconds=300, why="the run is in extract")
    os.kill(service.pid("server.pid"), signal.SIGKILL)
    time.sleep(30)
    assert service.mscl("up")[0] == 0
    assert service.ends(run) == "COMPLETED"


def test_the_automation_finds_a_run_without_a_worker(service: Service, tiny: Path, tmp_path: Path) -> None:
    """`mscl run` has no worker that would see its process die."""
    from tests.flows.running import mscl

    workspace = tmp_path / "workspace"
    process = mscl("run", tiny, "--workspace", workspace, **service.variables)
    wait_until(lambda: committed(workspace), seconds=300, why="the run is in extract")
    found = service.call("POST", "/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 5})
    (run,) = [entry["id"] for entry in found if entry["name"].startswith("full-") and entry["state_type"] == "RUNNING"]
    members = family(process.pid)
    process.kill()
    process.wait()
    no_survivors(members)
    assert service.ends(run) == "CRASHED"
    assert "No heartbeat" in service.call("GET", f"/flow_runs/{run}")["state"]["message"]


def test_down_in_the_middle_of_a_run(service: Service, tiny: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    service.run("full", workspace=str(workspace), preset=str(tiny))
    wait_until(lambda: checkpointed(workspace), seconds=300, why="the run is in pretrain")
    members = family(service.pid("mscl-worker.pid")) | family(service.pid("server.pid"))
    code, output = service.mscl("down")
    assert code == 0, output
    no_survivors(members)
    code, output = service.mscl("up")
    assert code == 0, output


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
