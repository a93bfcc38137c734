"""Shards over local Ray and Dask clusters: the same results as with processes, nobody listening outside, no orphans."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mscl.config import RuntimeConfig, load_config
from mscl.errors import ConfigError
from mscl.pipeline import BY_NAME, execute
from mscl.progress import Silent
from storage.workspace import Workspace
from tests.flows.running import (
    command,
    committed,
    digests,
    family,
    flow_runs,
    is_loopback,
    listening,
    mscl,
    no_survivors,
    only,
    task_runs,
    wait_until,
)


def _needs(runner: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(f"prefect_{runner}") is None, reason=f"prefect-{runner} is an extra, not installed"
    )


RUNNERS = [pytest.param(name, marks=_needs(name)) for name in ("dask", "ray")]
# A cluster takes some ten seconds to start, and each of motion's workers PyTorch: each runner and each stage in every
# suite, all pairs in `make faults`.
PAIRS = [
    pytest.param("ray", "extract", 2, marks=_needs("ray")),
    pytest.param("dask", "motion", 1, marks=_needs("dask")),
    pytest.param("ray", "motion", 2, marks=[_needs("ray"), pytest.mark.storm]),
    pytest.param("dask", "extract", 2, marks=[_needs("dask"), pytest.mark.storm]),
    pytest.param("dask", "motion", 2, marks=[_needs("dask"), pytest.mark.storm]),
]
SHARDS = 6


class _Listeners:
    """Collects on which addresses the children of this process listen while work is going on."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.known = family(os.getpid())
        self._pid = os.getpid()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._done.wait(0.5):
            members = family(self._pid) - self.known
            self.seen |= {address for member in members for address, _ in listening(member.pid)}

    def __enter__(self) -> _Listeners:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()


@pytest.mark.parametrize(("runner", "stage", "workers"), PAIRS)
def test_a_cluster_gives_the_results_of_this_machine_s_processes(
    api: str, tiny_workspace: Path, tiny: Path, copy: Path, runner: str, stage: str, workers: int
) -> None:
    from flows.pipeline import stage_flow

    expected = only(tiny_workspace, stage)
    members = family(os.getpid())
    runtime = RuntimeConfig.model_validate({"task_runner": runner, "workers": workers})
    with _Listeners() as listeners:
        again = stage_flow(stage)(workspace=str(copy), preset=str(tiny), runtime=runtime, force=True)
    assert not again.reused
    assert again.result.key == expected.key
    assert digests(again.result) == digests(expected)
    assert listeners.seen
    assert all(is_loopback(address) for address in listeners.seen), listeners.seen
    # multiprocessing's tracker, if Dask is the first to need one, lives as long as the process of the tests.
    no_survivors({one for one in family(os.getpid()) - members if "resource_tracker" not in " ".join(command(one))})
    run = flow_runs(limit=1)[0]
    names = [stage, *(f"shards {number}" for number in range(SHARDS))]
    # The server writes task runs down from events, which may come after the end of the run that they belong to.
    wait_until(
        lambda: sorted(one.name for one in task_runs(run.id)) == names, seconds=30, why=f"the task runs are {names}"
    )


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="prefect-ray is an extra, not installed")
def test_a_process_that_has_used_another_ray_starts_none_that_listens_on_all_interfaces() -> None:
    code = "import ray; from flows.runners import _keep_ray_on_loopback; _keep_ray_on_loopback()"
    plain = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ConfigError: this Python process has used Ray before" in done.stderr


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"])
def test_an_address_that_others_reach_is_none_of_loopback(address: str) -> None:
    assert not is_loopback(address)
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("::ffff:127.0.0.1")


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="prefect-dask is an extra, not installed")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere://head"])
def test_a_cluster_that_is_not_there_is_said_in_one_line(address: str) -> None:
    import dask

    from flows.runners import spread_for

    spread = spread_for(RuntimeConfig(task_runner="dask", cluster=address))
    assert spread is not None
    said = f"^runtime.cluster is '{address}', and no Dask cluster could be joined there .*; start it, correct"
    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}), pytest.raises(ConfigError, match=said):
        list(spread(len, ["abc"], progress=Silent()))


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="prefect-dask is an extra, not installed")
def test_a_cluster_that_is_there_is_used_and_tells_our_errors(api: str, tiny: Path, tmp_path: Path) -> None:
    import shutil

    import yaml
    from distributed import LocalCluster

    from flows.pipeline import stage_flow
    from mscl.errors import DataError

    tree = yaml.safe_load(tiny.read_text())
    copy = tmp_path / "videos"
    shutil.copytree(tree["data"]["root"], copy)
    preset = tmp_path / "copy.yaml"
    preset.write_text(yaml.safe_dump(tree | {"data": tree["data"] | {"root": str(copy)}}))
    workspace = str(tmp_path / "workspace")
    stage_flow("ingest")(workspace=workspace, preset=str(preset))
    video = sorted(copy.glob("MoveRight/*.mp4"))[0]  # the preset takes two of the set's classes
    video.write_bytes(video.read_bytes() + b"more")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, worker_dashboard_address=None
    ) as cluster:
        runtime = RuntimeConfig(task_runner="dask", cluster=cluster.scheduler_address)
        with pytest.raises(DataError, match="when it was ingested; run ingest again"):
            stage_flow("extract")(workspace=workspace, preset=str(preset), runtime=runtime)
        assert cluster.scheduler_info["workers"]  # not ours to end


def device_and_what_cuda_sees(item: int, tick: object) -> tuple[str, str]:
    """Nothing here asks PyTorch: a cluster deals out GPUs that it is told of."""
    from mscl.stage.worker_pool import worker_device

    return worker_device(), os.environ.get("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.storm
@pytest.mark.parametrize("runner", RUNNERS)
def test_workers_of_a_cluster_have_a_gpu_each(api: str, runner: str) -> None:
    from prefect import flow

    from flows.runners import spread_for
    from mscl.progress import Silent

    spread = spread_for(RuntimeConfig.model_validate({"task_runner": runner, "workers": 2}))
    assert spread is not None

    @flow
    def work() -> set[tuple[str, str]]:
        return set(spread(device_and_what_cuda_sees, range(40), progress=Silent(), gpus=(0, 1)))

    seen = work()
    assert {device for device, _ in seen} == ({"cuda:0"} if runner == "ray" else {"cuda:0", "cuda:1"})
    if runner == "ray":
        assert {visible for _, visible in seen} == {"0", "1"}


@pytest.mark.parametrize(("cores", "gpus", "share"), [(16, 1, 0.0625), (3, 1, 0.3333), (2, 4, 1), (8, 8, 1), (4, 0, 0)])
def test_a_task_of_ray_asks_for_its_part_of_a_gpu(cores: int, gpus: int, share: float) -> None:
    from flows.runners import gpu_share

    assert gpu_share(cores=cores, gpus=gpus) == share


@pytest.mark.skipif(importlib.util.find_spec("prefect_ray") is None, reason="prefect-ray is an extra, not installed")
def test_ray_has_no_way_to_leave_out_the_first_gpu() -> None:
    from flows.runners import _runner

    with pytest.raises(ConfigError, match=r"runtime\.gpus is \[1\], and Ray deals out a machine's GPUs from 0"):
        _runner(RuntimeConfig(task_runner="ray", gpus=(1,)), (1,))


@pytest.mark.storm
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_killed_run_takes_its_cluster_along(api: str, tiny: Path, tmp_path: Path, runner: str) -> None:
    workspace = tmp_path / "workspace"
    process = mscl("run", tiny, f"runtime.task_runner={runner}", "runtime.workers=2", "--workspace", workspace, api=api)
    wait_until(lambda: committed(workspace), seconds=200, why="a shard is committed")
    members = family(process.pid)
    assert len(members) >= 3
    process.kill()
    process.communicate(timeout=60)
    no_survivors(members, seconds=120)  # two of Ray's agents look for their parent once a minute


def test_a_flow_run_has_at_most_a_thousand_task_runs() -> None:
    from flows.runners import MAX_TASK_RUNS, units

    stages_over_a_cluster = 2
    assert stages_over_a_cluster * MAX_TASK_RUNS + len(BY_NAME) + 1 < 1000
    for count in (0, 1, 7, MAX_TASK_RUNS, MAX_TASK_RUNS + 1, 7500, 240_000):
        parts = units(range(count))
        assert len(parts) <= MAX_TASK_RUNS
        assert [task for part in parts for task in part] == list(range(count))
        assert min((len(part) for part in parts), default=1) >= 1


def test_a_runner_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    from flows import runners
    from flows.parameters import resolve

    monkeypatch.setattr(runners.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"prefect-ray is not installed; `pip install -e '\.\[ray\]'`"):
        resolve(str(tiny), {"runtime": RuntimeConfig(task_runner="ray")})


def test_an_address_without_a_runner(tiny: Path) -> None:
    from flows.parameters import resolve

    with pytest.raises(ConfigError, match=r"runtime.cluster is 'tcp://x:1' and runtime.task_runner is 'threads'"):
        resolve(str(tiny), {"runtime": RuntimeConfig(cluster="tcp://x:1")})


def test_a_cluster_without_prefect_is_refused(tiny: Path, tmp_path: Path) -> None:
    config = load_config(str(tiny), ["runtime.task_runner=dask"])
    with pytest.raises(ConfigError, match=r"'dask', and a cluster is reached through Prefect only"):
        execute(BY_NAME["ingest"], Workspace(tmp_path / "ws"), config, {})
    assert not (tmp_path / "ws").exists()
