"""Stages on other work pools, and workers that know nothing of us: `prefect worker start`, outside the checkout.

Minutes long, with three workers at the tests' server: `make faults`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from flows.pools import PoolRunError
from flows.server.background_processes import end
from mscl.errors import ConfigError
from storage.workspace import Workspace
from tests.flows.running import digests, flow_runs, only, task_runs, wait_until

pytestmark = [pytest.mark.storm, pytest.mark.timeout(3600)]
Workers = dict[str, psutil.Process]
CHECKOUT = Path(__file__).resolve().parents[2]
SILENCE_SECONDS = 90
SLOW_SECONDS = 600
"""What ends a wait that has no other bound: a worker may take minutes for a run on a machine with more to do."""
LIMIT_SECONDS = SILENCE_SECONDS + 60 + 60
"""After a kill the run is Crashed: what the automation waits, how often Prefect looks, and a slow machine."""


@pytest.fixture(scope="module")
def workers(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Process pools mscl, gpu and cpu with a plain worker each: it has an API address and nothing of our settings."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from flows.deployments import deploy
    from flows.server.service import _automate, _make_pool

    folder = tmp_path_factory.mktemp("elsewhere")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    plain |= {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "home"), "PYTHONPATH": str(CHECKOUT)}
    with get_client(sync_client=True) as client:
        _make_pool(client)
        template = client.read_work_pool("mscl").base_job_template
        for name in ("gpu", "cpu"):
            client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
        deploy(client, folder=folder)
        _automate(client)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool"]
    started = {name: subprocess.Popen([*command, name], cwd=folder, env=plain) for name in ("mscl", "gpu", "cpu")}
    yield {name: psutil.Process(worker.pid) for name, worker in started.items()}
    for worker in started.values():
        end(worker.pid, grace_seconds=60)


def _run(name: str, **parameters: Any) -> Any:
    from prefect.deployments import run_deployment

    return run_deployment(f"{name}/{name}", parameters=parameters, timeout=0).id


def _state(run: Any) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(run).state


def _ends(run: Any) -> Any:
    wait_until(lambda: _state(run).is_final(), seconds=SLOW_SECONDS, why="the run has ended")
    return _state(run)


def _on(pool: str) -> Any:
    """The latest run on a work pool."""
    return next((run for run in flow_runs(limit=5) if run.work_pool_name == pool), None)


def test_stages_run_on_the_pools_that_the_settings_name(
    workers: Workers, tiny_workspace: Path, tiny: Path, copy: Path
) -> None:
    from flows.pipeline import full

    pools = {"screen": "gpu", "motion": "cpu"}
    done = full(workspace=str(copy), preset=str(tiny), force=["motion", "screen"], runtime={"pools": pools})
    assert [name for name, outcome in done.items() if not outcome.reused] == ["motion", "screen"]
    for name, pool in pools.items():
        assert digests(done[name].result) == digests(only(tiny_workspace, name))
        assert _on(pool).name.startswith(f"{name} · tiny · ")
        assert _on(pool).job_variables == {"working_dir": str(Path.cwd())}
    with pytest.raises(ConfigError, match="sends screen to work pool 'gpus', and the server has"):
        full(workspace=str(copy), preset=str(tiny), runtime={"pools": {"screen": "gpus"}})


def test_an_end_on_one_side_is_an_end_on_the_other(
    workers: Workers, tiny_workspace: Path, tiny: Path, copy: Path
) -> None:
    from flows.pipeline import stage_flow
    from flows.stage_tasks import StageTimeoutError

    asked = {"workspace": str(copy), "preset": str(tiny), "force": True}
    pools = {"pools": {"screen": "gpu"}}

    def runs_there() -> bool:
        latest = _on("gpu")
        return latest is not None and latest.state.is_running()

    def kill() -> None:  # not the first process that the worker has: that may be one that lives for a moment
        wait_until(runs_there, seconds=SLOW_SECONDS, why="the stage runs on the other pool")
        for child in workers["gpu"].children(recursive=True):
            child.kill()

    killer = Thread(target=kill)
    with Workspace(copy).claim("screen", only(tiny_workspace, "screen").key):  # it waits for that, and does not end
        killer.start()
        with pytest.raises(PoolRunError, match="screen on work pool gpu .* ended as Crashed"):
            stage_flow("screen")(**asked, runtime=pools)
        killer.join()
        with pytest.raises(StageTimeoutError):
            stage_flow("screen")(**asked, runtime=pools | {"timeout_minutes": 0.75})
        assert _ends(_on("gpu").id).is_cancelled()


def test_a_failed_run_is_retried_by_prefect_s_own_command(api: str, workers: Workers, tiny: Path, copy: Path) -> None:
    hidden = (copy / "motion").rename(copy.parent / "motion")
    run = _run("screen", workspace=str(copy), preset=str(tiny), force=True)
    assert "no finished result of motion" in _ends(run).message
    hidden.rename(copy / "motion")
    command = [sys.executable, "-m", "prefect", "flow-run", "retry", str(run)]
    done = subprocess.run(
        command, env=os.environ | {"PREFECT_API_URL": api}, capture_output=True, text=True, timeout=SLOW_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: _state(run).is_completed(), seconds=SLOW_SECONDS, why="the run is done")


def test_a_quiet_run_lives_and_a_killed_one_ends(
    workers: Workers, tiny_workspace: Path, tiny: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import left_task_runs

    asked = {"workspace": str(copy), "preset": str(tiny), "force": True}
    with Workspace(copy).claim("screen", only(tiny_workspace, "screen").key):
        run = _run("screen", **asked)
        wait_until(lambda: _state(run).is_running(), seconds=SLOW_SECONDS, why="the run runs")
        time.sleep(2 * SILENCE_SECONDS)
        assert _state(run).is_running()
    assert _ends(run).is_completed()

    with Workspace(copy).claim("screen", only(tiny_workspace, "screen").key):
        run = _run("screen", **asked)
        wait_until(lambda: bool(task_runs(run)), seconds=SLOW_SECONDS, why="the stage has begun")
        children = workers["mscl"].children(recursive=True)
        for process in (workers["mscl"], *children):  # the worker first: it would tell
            process.kill()
        wait_until(lambda: _state(run).is_crashed(), seconds=LIMIT_SECONDS, why="the run is found")
    assert "No heartbeat" in _state(run).message
    monkeypatch.setattr(left_task_runs, "_GRACE", left_task_runs.timedelta(0))
    left_task_runs.end_left_task_runs()
    assert [one.state.name for one in task_runs(run)] == ["Crashed"]
