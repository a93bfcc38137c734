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
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed

from mscl.config import RuntimeConfig
from mscl.devices import cores
from mscl.errors import ConfigError
from mscl.progress import Progress
from mscl.stage.worker_pool import Spread, Tick

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

Item = TypeVar("Item")
Done = TypeVar("Done")

MAX_TASK_RUNS = 400
"""Per stage. Extraction, motion and the stages themselves stay under 1,000 in all, whatever the dataset."""

_ONE_NODE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


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

    def __init__(self, function: Callable[[Item, Tick], Done], items: Sequence[Item]) -> None:
        self.function = function
        self.items = items

    def run(self) -> _Unit[Done]:
        ticks: list[int] = []
        return _Unit([self.function(item, ticks.append) for item in self.items], sum(ticks))


@task(name="shards", task_run_name="shards {number}", cache_policy=NO_CACHE, persist_result=False)
def _shards(number: int, work: _Work[Any, Any]) -> _Unit[Any]:
    """One unit of work on a worker of the cluster."""
    import cv2

    cv2.setNumThreads(1)  # a worker per core is the parallelism
    return work.run()


def _over_cluster(
    runtime: RuntimeConfig, function: Callable[[Item, Tick], Done], items: Sequence[Item], *, progress: Progress
) -> Iterator[Done]:
    """As `run_in_processes`, on the cluster; results come unit by unit."""
    if not items:
        return
    with _runner(runtime) as runner:
        futures: list[PrefectFuture[_Unit[Done]]] = [
            runner.submit(_shards, {"number": number, "work": _Work(function, some)})
            for number, some in enumerate(units(items))
        ]
        for future in as_completed(futures):
            unit = future.result()
            progress.advance(unit.ticks)
            yield from unit.done


def _runner(runtime: RuntimeConfig) -> TaskRunner[Any]:
    """The cluster at `runtime.cluster`, else one of this machine that ends with the stage and listens on loopback."""
    number = runtime.workers or cores()
    if runtime.task_runner == "dask":
        from prefect_dask import DaskTaskRunner

        if runtime.cluster:
            return cast("TaskRunner[Any]", DaskTaskRunner(address=runtime.cluster))
        local: dict[str, Any] = {
            "n_workers": number, "threads_per_worker": 1, "host": "127.0.0.1",
            "dashboard_address": None, "worker_dashboard_address": None,
        }  # fmt: skip
        return cast("TaskRunner[Any]", DaskTaskRunner(cluster_kwargs=local))
    if not runtime.cluster:
        _keep_ray_on_loopback()
    from prefect_ray import RayTaskRunner

    if runtime.cluster:
        return cast("TaskRunner[Any]", RayTaskRunner(address=runtime.cluster))
    local = {
        "address": "local", "num_cpus": number, "include_dashboard": False, "log_to_driver": False,
        "configure_logging": False,
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
