"""Shards over local Ray and Dask clusters: the same results as with processes, nobody listening outside, no orphans."""

from __future__ import annotations

import importlib.util
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mscl.config import RuntimeConfig, load_config
from mscl.errors import ConfigError
from mscl.stages import BY_NAME, Outcome, execute
from storage.workspace import Workspace
from tests.flows.running import committed, digests, family, flow_runs, listening, mscl, no_survivors, wait_until

RUNNERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(f"prefect_{name}") is None, reason=f"prefect-{name} is an extra, not installed"
        ),
    )
    for name in ("dask", "ray")
]
SHARDS = 6


def _task_runs(flow_run: Any) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        return list(client.read_task_runs(flow_run_filter=chosen))


class _Listeners:
    """Collects on which addresses the children of this process listen while work is going on."""

    def __init__(self) -> None:
        import os

        self.seen: set[str] = set()
        self.known = family(os.getpid())
        self._pid = os.getpid()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._done.wait(0.5):
            members = family(self._pid) - self.known
            self.seen |= {address for pid, _ in members for address, _ in listening(pid)}

    def __enter__(self) -> _Listeners:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_cluster_gives_the_results_of_this_machine_s_processes(
    first: tuple[Path, dict[str, Outcome]], tiny: Path, runner: str
) -> None:

    from flows.pipeline import STAGE_FLOWS

    workspace, before = first
    members = family(os.getpid())
    with _Listeners() as listeners:
        for stage in ("extract", "motion"):
            runtime = RuntimeConfig.model_validate({"task_runner": runner, "workers": 2})
            again = STAGE_FLOWS[stage](workspace=str(workspace), preset=str(tiny), runtime=runtime, force=True)
            assert not again.reused
            assert again.result.key == before[stage].result.key
            assert digests(again.result) == digests(before[stage].result)
    assert listeners.seen
    assert listeners.seen <= {"127.0.0.1", "::1"}
    no_survivors(family(os.getpid()) - members)
    names = sorted(run.name for run in _task_runs(flow_runs(limit=1)[0]))
    assert names == ["motion", *(f"shards {number}" for number in range(SHARDS))]


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="prefect-dask is an extra, not installed")
def test_a_cluster_that_is_there_is_used_and_tells_our_errors(
    first: tuple[Path, dict[str, Outcome]], tiny: Path, tmp_path: Path
) -> None:
    import shutil

    import yaml
    from distributed import LocalCluster

    from flows.pipeline import STAGE_FLOWS
    from mscl.errors import DataError

    tree = yaml.safe_load(tiny.read_text())
    copy = tmp_path / "videos"
    shutil.copytree(tree["data"]["root"], copy)
    preset = tmp_path / "copy.yaml"
    preset.write_text(yaml.safe_dump(tree | {"data": tree["data"] | {"root": str(copy)}}))
    workspace = str(tmp_path / "workspace")
    STAGE_FLOWS["ingest"](workspace=workspace, preset=str(preset))
    video = sorted(copy.rglob("*.mp4"))[0]
    video.write_bytes(video.read_bytes() + b"more")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, worker_dashboard_address=None
    ) as cluster:
        runtime = RuntimeConfig(task_runner="dask", cluster=cluster.scheduler_address)
        with pytest.raises(DataError, match="when it was ingested; run ingest again"):
            STAGE_FLOWS["extract"](workspace=workspace, preset=str(preset), runtime=runtime)
        assert cluster.scheduler_info["workers"]  # not ours to end


@pytest.mark.storm
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_killed_run_takes_its_cluster_along(api: str, tiny: Path, tmp_path: Path, runner: str) -> None:
    workspace = tmp_path / "workspace"
    process = mscl(
        "run", tiny, f"runtime.task_runner={runner}", "runtime.workers=2", "--workspace", workspace, api=api
    )  # fmt: skip
    wait_until(lambda: committed(workspace), seconds=200, why="a shard is committed")
    members = family(process.pid)
    assert len(members) >= 3
    process.kill()
    process.communicate(timeout=60)
    no_survivors(members, seconds=60)


def test_a_flow_run_has_at_most_a_thousand_task_runs() -> None:
    from flows.runners import MAX_TASK_RUNS, units

    stages_over_a_cluster = 2
    assert stages_over_a_cluster * MAX_TASK_RUNS + len(BY_NAME) + 1 < 1000
    for count in (0, 1, 7, MAX_TASK_RUNS, MAX_TASK_RUNS + 1, 7500, 240_000):
        parts = units(range(count))
        assert len(parts) <= MAX_TASK_RUNS
        assert [task for part in parts for task in part] == list(range(count))
        assert min((len(part) for part in parts), default=1) >= 1


def test_a_runner_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path) -> None:
    from flows import runners
    from flows.pipeline import resolve

    monkeypatch.setattr(runners.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"prefect-ray is not installed; `pip install 'mscl-pipeline\[ray\]'`"):
        resolve(str(tiny), {"runtime": RuntimeConfig(task_runner="ray")})


def test_an_address_without_a_runner(tiny: Path) -> None:
    from flows.pipeline import resolve

    with pytest.raises(ConfigError, match=r"runtime.cluster is 'tcp://x:1' and runtime.task_runner is 'threads'"):
        resolve(str(tiny), {"runtime": RuntimeConfig(cluster="tcp://x:1")})


def test_a_cluster_without_prefect_is_refused(tiny: Path, tmp_path: Path) -> None:
    config = load_config(str(tiny), ["runtime.task_runner=dask"])
    with pytest.raises(ConfigError, match=r"'dask', and a cluster is reached through Prefect only"):
        execute(BY_NAME["ingest"], Workspace(tmp_path / "ws"), config, {})
    assert not (tmp_path / "ws").exists()
