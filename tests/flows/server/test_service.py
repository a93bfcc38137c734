"""`mscl up`, deployments, worker and server, and what becomes of runs when each of them is killed.

Minutes long, on a server, worker and database of its own: `make faults`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.server.background_processes import family
from storage.workspace import Workspace
from tests.faults.workspace_facts import differences, facts
from tests.flows.running import checkpointed, committed, finished, no_survivors, ranks, wait_until

pytestmark = [pytest.mark.storm, pytest.mark.timeout(900)]

CHECKOUT = Path(__file__).resolve().parents[3]
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
WORKER = "mscl-worker.pid"
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

    @property
    def key(self) -> str:
        return b64encode((self.home / "mscl-api-auth").read_bytes()).decode()

    def call(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            self.api + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json", "authorization": f"Basic {self.key}"},
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

    def deployments(self) -> dict[str, Any]:
        """What each deployment is, but for ids and times."""
        passing = ("id", "created", "updated", "status", "last_polled", "version_id", "version_info", "created_by")
        found = self.call("POST", "/deployments/filter", {})
        plain = [{k: v for k, v in one.items() if k not in (*passing, "updated_by", "labels")} for one in found]
        for one in plain:
            one["schedules"] = [{k: s[k] for k in ("slug", "active", "schedule")} for s in one["schedules"]]
        return {one["name"]: one for one in plain}

    def state(self, run: str) -> str:
        return str(self.call("GET", f"/flow_runs/{run}")["state_type"])

    def message(self, run: str) -> str:
        return str(self.call("GET", f"/flow_runs/{run}")["state"]["message"])

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
    members = {child for name in ("server.pid", WORKER) for child in family(service.pid(name))}
    code, output = service.mscl("down", "--force")
    assert code == 0, output
    assert "server stopped" in output
    no_survivors(members)
    assert service.mscl("status")[0] == 1


@pytest.fixture(scope="module")
def undisturbed(service: Service, tiny: Path) -> Path:
    """The workspace of a run that nobody disturbed."""
    workspace = service.folder / "undisturbed"
    assert service.ends(service.run("full", workspace=str(workspace), preset=str(tiny))) == "COMPLETED"
    return workspace


def test_up_again_starts_nothing_new(service: Service) -> None:
    before = service.pid("server.pid"), service.pid(WORKER)
    code, output = service.mscl("up")
    assert code == 0, output
    assert (service.pid("server.pid"), service.pid(WORKER)) == before
    code, output = service.mscl("status")
    assert code == 0, output
    for name in ("full", "ingest", "extract", "report"):
        assert name in output


def test_the_ui_asks_the_server_that_serves_it(service: Service) -> None:
    with urllib.request.urlopen(service.api.removesuffix("/api") + "/ui-settings", timeout=30) as answer:
        assert json.loads(answer.read())["api_url"] == "/api"


def test_prefect_s_own_command_makes_the_same_deployments_without_questions(service: Service) -> None:
    ours = service.deployments()
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "deploy", "--all"], cwd=CHECKOUT,
        env=os.environ | service.variables | {"PWD": ours["full"]["job_variables"]["working_dir"]},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = service.deployments()
    for name, one in theirs.items():
        assert "additionalProperties" not in one["parameter_openapi_schema"]
        one["parameter_openapi_schema"]["additionalProperties"] = False
        one["parameter_openapi_schema"].setdefault("definitions", {})  # theirs leaves out what is empty
        one["version"] = ours[name]["version"]  # theirs is the commit where git knows a remote, ours that of the flow
    assert theirs == ours
    assert service.mscl("up")[0] == 0
    assert service.deployments() == ours


def test_values_that_do_not_fit_together_fail_the_run_with_our_words(service: Service, tmp_path: Path) -> None:
    run = service.run("full", workspace=str(tmp_path / "ws"), preset="demo", pretrain={"batch_size": 3})
    assert service.ends(run) == "FAILED"
    assert "not divisible by batch_size 3" in service.message(run)


@pytest.mark.parametrize("during", ["extract", "pretrain"])
@pytest.mark.parametrize(
    "fault", ["cancel", "time-out", "terminate the run", "kill the run", "kill the worker", "kill a rank"]
)
def test_a_fault_leaves_nothing_running_and_the_next_run_finishes(
    service: Service, undisturbed: Path, tiny: Path, tmp_path: Path, during: str, fault: str
) -> None:
    if fault == "kill a rank" and during == "extract":
        pytest.skip("nothing trains during extraction")
    workspace = tmp_path / "workspace"
    shutil.copytree(undisturbed, workspace)
    shutil.rmtree(workspace / during)
    asked = {"workspace": str(workspace), "preset": str(tiny)}
    # Long enough for the stage to have begun, and far too short to end it: what is asked for is a longer one.
    slow = {"pretrain": {"min_steps": 10**6}} if during == "pretrain" else {"flow": {"method": "farneback"}}
    limited = slow | {"runtime": {"timeout_minutes": 0.4 if during == "pretrain" else 0.02}}
    run = service.run("full", **asked, **(limited if fault == "time-out" else {}))
    reached = {"extract": lambda: committed(workspace), "pretrain": lambda: bool(ranks(service.pid(WORKER)))}[during]
    if fault != "time-out":
        wait_until(reached, seconds=300, why=f"the run is in {during}")
    else:
        wait_until(lambda: service.state(run) == "RUNNING", seconds=300, why="the run runs")
    members = family(service.pid(WORKER))
    flow_process = _flow_process(service.pid(WORKER))
    if fault == "cancel":
        service.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        assert service.ends(run) == "CANCELLED"
    elif fault == "time-out":
        assert service.ends(run) == "FAILED"
        assert "took longer than runtime.timeout_minutes" in service.message(run)
    elif fault == "kill a rank":
        os.kill(ranks(service.pid(WORKER))[0], signal.SIGKILL)
        assert service.ends(run) == "FAILED"
        assert "exit code -9" in service.message(run)
    elif fault == "kill the worker":
        os.kill(service.pid(WORKER), signal.SIGKILL)
        assert service.ends(run) in {"COMPLETED", "CRASHED"}  # the run goes on alone, or ends with its worker
    else:
        os.kill(flow_process, signal.SIGKILL if fault == "kill the run" else signal.SIGTERM)
        assert service.ends(run) == "CRASHED"
    no_survivors(members - family(service.pid(WORKER)), seconds=90)
    no_survivors({member for member in members if member.pid == flow_process}, seconds=90)
    assert service.mscl("up")[0] == 0
    again = service.run("full", **asked)
    assert service.ends(again) == "COMPLETED"
    keys = {result.key for result in Workspace(undisturbed).results()}
    assert differences(facts(undisturbed), facts(workspace, keys=keys)) == []


def test_a_server_that_is_gone_for_half_a_minute(
    service: Service, undisturbed: Path, tiny: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    run = service.run("full", workspace=str(workspace), preset=str(tiny))
    wait_until(lambda: committed(workspace), seconds=300, why="the run is in extract")
    os.kill(service.pid("server.pid"), signal.SIGKILL)
    time.sleep(30)
    assert service.mscl("up")[0] == 0
    assert service.ends(run) == "COMPLETED"
    assert differences(facts(undisturbed), facts(workspace)) == []


def test_the_automation_finds_a_run_without_a_worker(service: Service, tiny: Path, tmp_path: Path) -> None:
    """`mscl run` has no worker that would see its process die."""
    from tests.flows.running import mscl

    workspace = tmp_path / "workspace"
    process = mscl("run", tiny, "--workspace", workspace, **service.variables)
    wait_until(lambda: committed(workspace), seconds=300, why="the run is in extract")
    found = service.call("POST", "/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 5})
    (run,) = [
        entry["id"] for entry in found if entry["name"].startswith("tiny · ") and entry["state_type"] == "RUNNING"
    ]
    members = family(process.pid)
    process.kill()
    process.wait()
    no_survivors(members)
    assert service.ends(run) == "CRASHED"
    assert "No heartbeat" in service.message(run)


def test_down_leaves_a_run_at_a_terminal_its_server_unless_forced(service: Service, tiny: Path, tmp_path: Path) -> None:
    from tests.flows.running import mscl

    workspace = tmp_path / "workspace"
    process = mscl("run", tiny, "--workspace", workspace, **service.variables)
    wait_until(lambda: committed(workspace), seconds=300, why="the run is in extract")
    members = family(process.pid)
    code, output = service.mscl("down")
    assert code == 2 and "the server goes on" in output and "tiny · " in output
    assert service.call("GET", "/health") is True
    code, output = service.mscl("down", "--force")
    process.kill()
    process.wait()
    no_survivors(members)
    assert code == 0 and "without their server these end within minutes" in output and "tiny · " in output
    assert service.mscl("up")[0] == 0


def test_down_in_the_middle_of_a_run(service: Service, tiny: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    run = service.run("full", workspace=str(workspace), preset=str(tiny))
    wait_until(lambda: checkpointed(workspace), seconds=300, why="the run is in pretrain")
    members = family(service.pid(WORKER)) | family(service.pid("server.pid"))
    code, output = service.mscl("down", "--force")
    assert code == 0, output
    no_survivors(members)
    code, output = service.mscl("up")
    assert code == 0, output
    assert service.state(run) == "CRASHED" and "mscl down" in service.message(run)
    stages = service.call("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    done = {stage["name"] for stage in stages if stage["state_type"] == "COMPLETED"}
    assert {"ingest", "extract", "motion", "screen"} <= done and "pretrain" not in done


def test_up_again_lets_the_automation_be(service: Service) -> None:
    """A trigger that is written anew forgets for how long runs have been silent."""
    before = service.call("POST", "/automations/filter", {})
    assert service.mscl("up")[0] == 0
    assert service.call("POST", "/automations/filter", {}) == before
    assert len(before) == 1


def _flow_process(worker: int) -> int:
    """The one child of the worker: the process of its one run."""
    (child,) = psutil.Process(worker).children()
    return child.pid
