"""Shards over a cluster: with `runtime.task_runner` ray or dask, extraction and motion become Prefect task runs.

With `threads`, the default, shards go to processes of this machine, and are no task runs (mscl/stage/worker_pool.py).
A task run costs 0.1 to 0.3 s and 20 kB of the server's database, so several shards share one where there are many.
Workers write shards into the result's folder: all nodes must see the workspace and the videos under the same paths.
Ray and Dask send pickles between their own processes; an address must be that of a cluster that you trust.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed

from mscl.config import RuntimeConfig
from mscl.devices import cores, device_of
from mscl.errors import ConfigError, one_line
from mscl.progress import Progress
from mscl.stage.worker_pool import Spread, Tick, set_worker_device
from mscl.training.socket_paths import short_folder

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

Item = TypeVar("Item")
Done = TypeVar("Done")

MAX_TASK_RUNS = 400
"""Per stage. Extraction, motion and the stages themselves stay under 1,000 in all, whatever the dataset."""

_ONE_NODE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_RAY_PATH_BYTES = 80
"""Of a socket's path, below the folder for temporary files; a little more than there are."""


def spread_for(runtime: RuntimeConfig) -> Spread | None:
    """How the stages' shards are spread; None for processes of this machine.

    Raises:
        ConfigError: the runner is not installed, or has an address and needs none.
    """
    if runtime.task_runner == "threads":
        if runtime.cluster:
            raise ConfigError(
                f"runtime.cluster is {runtime.cluster!r} and runtime.task_runner is 'threads', which has no cluster; "
                "set runtime.task_runner to ray or dask, or leave runtime.cluster empty"
            )
        return None
    module = f"prefect_{runtime.task_runner}"
    if importlib.util.find_spec(module) is None:
        raise ConfigError(
            f"runtime.task_runner is {runtime.task_runner!r} and {module.replace('_', '-')} is not installed; "
            f"`pip install -e '.[{runtime.task_runner}]'`, or use threads"
        )
    return partial(_over_cluster, runtime)


def units(items: Sequence[Item]) -> list[Sequence[Item]]:
    """The items in order, in at most MAX_TASK_RUNS parts of one length (the last may be shorter)."""
    size = max(1, math.ceil(len(items) / MAX_TASK_RUNS))
    return [items[first : first + size] for first in range(0, len(items), size)]


@dataclass(frozen=True)
class _Unit(Generic[Done]):
    """What one task run did: results of its items, and the units of progress that they counted."""

    done: list[Done]
    ticks: int


class _Work(Generic[Item, Done]):
    """Some of a stage's items. No dataclass: Prefect would search that for futures, down to the last path."""

    def __init__(self, function: Callable[[Item, Tick], Done], items: Sequence[Item], gpus: Sequence[int]) -> None:
        self.function = function
        self.items = items
        self.gpus = gpus
        """As the worker's PyTorch counts them."""

    def run(self) -> _Unit[Done]:
        set_worker_device(device_of(_number_of_worker(), self.gpus))
        ticks: list[int] = []
        return _Unit([self.function(item, ticks.append) for item in self.items], sum(ticks))


@task(name="shards", task_run_name="shards {number}", cache_policy=NO_CACHE, persist_result=False)
def _shards(number: int, work: _Work[Any, Any]) -> _Unit[Any]:
    """One unit of work on a worker of the cluster."""
    import cv2

    cv2.setNumThreads(1)  # a worker per core is the parallelism
    return work.run()


def _over_cluster(
    runtime: RuntimeConfig,
    function: Callable[[Item, Tick], Done],
    items: Sequence[Item],
    *,
    progress: Progress,
    gpus: Sequence[int] = (),
) -> Iterator[Done]:
    """As `run_in_processes`, on the cluster; results come unit by unit.

    Raises:
        ConfigError: the cluster cannot be reached; work for GPUs, and the cluster has none.
    """
    if not items:
        return
    with (
        _connected(runtime, _runner(runtime, gpus)) as runner,
        _asking_for_gpus(runtime, runner) if gpus else nullcontext(),
    ):
        # Ray shows a task its own GPU alone, and so does who starts the workers of a Dask cluster.
        seen = tuple(gpus) if runtime.task_runner == "dask" and not runtime.cluster else (0,) if gpus else ()
        futures: list[PrefectFuture[_Unit[Done]]] = [
            runner.submit(_shards, {"number": number, "work": _Work(function, some, seen)})
            for number, some in enumerate(units(items))
        ]
        for future in as_completed(futures):
            unit = future.result()
            progress.advance(unit.ticks)
            yield from unit.done


@contextmanager
def _connected(runtime: RuntimeConfig, runner: TaskRunner[Any]) -> Iterator[TaskRunner[Any]]:
    """The runner, with its cluster at the other end.

    Raises:
        ConfigError: there is none at `runtime.cluster`, or one of other versions.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(runner)
            if runtime.task_runner == "dask":
                _ = cast("Any", runner).client  # else the first task run would connect
        except Exception as error:  # whatever the two libraries raise
            if not runtime.cluster:
                raise
            form = "ray://HOST:10001" if runtime.task_runner == "ray" else "tcp://HOST:8786"
            raise ConfigError(
                f"runtime.cluster is {runtime.cluster!r}, and no {runtime.task_runner.capitalize()} cluster could be "
                f"joined there ({one_line(error)}); start it, correct the address ({form}), or leave runtime.cluster "
                "empty for a cluster of this machine"
            ) from error
        yield runner


def _number_of_worker() -> int:
    """Of a Dask cluster of this machine, whose workers are called 0, 1, 2; elsewhere 0."""
    if "distributed" not in sys.modules:
        return 0
    from distributed import get_worker

    try:
        name = get_worker().name
    except ValueError:  # no worker of Dask
        return 0
    return name if isinstance(name, int) else 0


def _asking_for_gpus(runtime: RuntimeConfig, runner: TaskRunner[Any]) -> AbstractContextManager[Any]:
    """Tasks that are submitted within go to workers with a GPU: Ray's `num_gpus`, Dask's resource `GPU`.

    Raises:
        ConfigError: the cluster has none, and its tasks would wait for ever.
    """
    if runtime.task_runner == "ray":
        import ray
        from prefect_ray.context import remote_options

        has = ray.cluster_resources()
        if share := gpu_share(cores=int(has.get("CPU", 1)), gpus=int(has.get("GPU", 0))):
            return cast("AbstractContextManager[Any]", remote_options(num_gpus=share))
    else:
        from dask.base import annotate

        workers = cast("Any", runner).client.scheduler_info(n_workers=-1)["workers"].values()
        if any(worker["resources"].get("GPU", 0) >= 1 for worker in workers):
            return cast("AbstractContextManager[Any]", annotate(resources={"GPU": 1}))
    raise ConfigError(
        f"flow is to be computed on GPUs, and no worker of the {runtime.task_runner} cluster {runtime.cluster} has the "
        "resource GPU; start workers that have (docs/gpu.md), or set runtime.device to cpu"
    )


def gpu_share(*, cores: int, gpus: int) -> float:
    """How much of a GPU each of Ray's tasks asks for, so that a task runs on every core; 0: there is no GPU."""
    if gpus >= cores:
        return float(min(1, gpus))
    return math.floor(10_000 * gpus / cores) / 10_000  # what Ray counts in


def _runner(runtime: RuntimeConfig, gpus: Sequence[int]) -> TaskRunner[Any]:
    """The cluster at `runtime.cluster`, else one of this machine that ends with the stage and listens on loopback."""
    number = runtime.workers or cores()
    if runtime.task_runner == "dask":
        from prefect_dask import DaskTaskRunner

        if runtime.cluster:
            return cast("TaskRunner[Any]", DaskTaskRunner(address=runtime.cluster))
        local: dict[str, Any] = {
            "n_workers": number, "threads_per_worker": 1, "host": "127.0.0.1",
            "dashboard_address": None, "worker_dashboard_address": None, "resources": {"GPU": 1} if gpus else {},
        }  # fmt: skip
        return cast("TaskRunner[Any]", DaskTaskRunner(cluster_kwargs=local))
    if not runtime.cluster:
        if tuple(gpus) != tuple(range(len(gpus))):
            raise ConfigError(
                f"runtime.gpus is {list(gpus)}, and Ray deals out a machine's GPUs from 0; hide the others with "
                "CUDA_VISIBLE_DEVICES and leave runtime.gpus empty, or set runtime.task_runner to threads"
            )
        _keep_ray_on_loopback()
        _keep_ray_in_a_short_folder()
    from prefect_ray import RayTaskRunner

    if runtime.cluster:
        return cast("TaskRunner[Any]", RayTaskRunner(address=runtime.cluster))
    local = {
        "address": "local", "num_cpus": number, "num_gpus": len(gpus), "include_dashboard": False,
        "log_to_driver": False, "configure_logging": False,
    }  # fmt: skip
    return cast("TaskRunner[Any]", RayTaskRunner(init_kwargs=local))


def _keep_ray_on_loopback() -> None:
    """See that every process of a Ray cluster of this machine listens on 127.0.0.1.

    Ray puts the machine's own address in the place of a loopback one, and then most of its processes listen on all
    interfaces, unless clusters of several nodes are switched off, as on desktops. Ray reads that switch when it is
    imported, here and in each of its processes. A run is a process of its own, so nobody else's Ray is changed.

    Raises:
        ConfigError: this process has imported Ray already, with clusters of several nodes.
    """
    if "ray" in sys.modules and os.environ.get(_ONE_NODE) != "0":
        raise ConfigError(
            "this Python process has used Ray before, for a cluster of several nodes, and one that it starts now would "
            "listen on all interfaces; start the run in a process of its own (`mscl run`), or set runtime.cluster"
        )
    os.environ[_ONE_NODE] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no reports to Ray's makers


def _keep_ray_in_a_short_folder() -> None:
    """Ray's sockets lie deep in its folder: `/ray/session_2026-01-31_12-34-56_123456_1234567/sockets/plasma_store`."""
    if "RAY_TMPDIR" not in os.environ and (folder := short_folder(below=_RAY_PATH_BYTES)) is not None:
        os.environ["RAY_TMPDIR"] = folder
