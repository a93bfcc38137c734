"""Shards over a cluster: with `runtime.task_runner` ray or dask, extraction and motion become Prefect task runs.

With `threads`, the default, a stage's shards go to processes of this machine, and no task runs (mscl/stage/pool.py).
A task run costs 0.1 to 0.3 s and 20 kB of the server's database, so several shards share one where there are many.
Workers write shards into the result's folder: all nodes must see the workspace and the videos under the same paths.
Ray and Dask send pickles between their own processes; an address must be that of a cluster that you trust.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

Task = TypeVar("Task")
Done = TypeVar("Done")

MAX_TASK_RUNS = 400
"""Per stage. Extraction, motion and the stages themselves stay under 1,000 in all, whatever the dataset."""


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


def units(tasks: Sequence[Task]) -> list[Sequence[Task]]:
    """The tasks in order, in at most MAX_TASK_RUNS parts of one length (the last may be shorter)."""
    size = max(1, math.ceil(len(tasks) / MAX_TASK_RUNS))
    return [tasks[first : first + size] for first in range(0, len(tasks), size)]


@dataclass(frozen=True)
class _Unit(Generic[Done]):
    """What one task run did: results of its tasks, and the units of progress that they counted."""

    done: list[Done]
    ticks: int


class _Work(Generic[Task, Done]):
    """Some tasks of a stage. No dataclass: Prefect would search that for futures, down to the last path."""

    def __init__(self, function: Callable[[Task, Tick], Done], tasks: Sequence[Task]) -> None:
        self.function = function
        self.tasks = tasks

    def run(self) -> _Unit[Done]:
        ticks: list[int] = []
        return _Unit([self.function(task, ticks.append) for task in self.tasks], sum(ticks))


@task(name="shards", task_run_name="shards {number}", cache_policy=NO_CACHE, persist_result=False)
def _shards(number: int, work: _Work[Any, Any]) -> _Unit[Any]:
    """One unit of work on a worker of the cluster."""
    import cv2

    cv2.setNumThreads(1)  # a worker per core is the parallelism
    return work.run()


def _over_cluster(
    runtime: RuntimeConfig, function: Callable[[Task, Tick], Done], tasks: Sequence[Task], *, progress: Progress
) -> Iterator[Done]:
    """As `run_in_processes`, on the cluster; results come unit by unit."""
    if not tasks:
        return
    with _on_loopback(runtime), _runner(runtime) as runner:
        futures: list[PrefectFuture[_Unit[Done]]] = [
            runner.submit(_shards, {"number": number, "work": _Work(function, some)})
            for number, some in enumerate(units(tasks))
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
    from prefect_ray import RayTaskRunner

    if runtime.cluster:
        return cast("TaskRunner[Any]", RayTaskRunner(address=runtime.cluster))
    local = {
        "address": "local", "num_cpus": number, "include_dashboard": False, "log_to_driver": False,
        "configure_logging": False, "_node_ip_address": "127.0.0.1",
    }  # fmt: skip
    return cast("TaskRunner[Any]", RayTaskRunner(init_kwargs=local))


@contextmanager
def _on_loopback(runtime: RuntimeConfig) -> Iterator[None]:
    """Every process of a Ray cluster that is started inside listens on 127.0.0.1; nothing is changed for other runners.

    Ray puts the machine's own address in the place of a loopback one, and then most of its processes listen on all
    interfaces, unless clusters of several nodes are switched off. That switch is read when Ray is imported, here and
    in each of its processes, so it is set both ways, and back again: a later run may use a cluster elsewhere.
    """
    if runtime.task_runner != "ray" or runtime.cluster:
        yield
        return
    # The second: no reports to Ray's makers.
    wanted = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in wanted}
    from ray._private import ray_constants  # before the variable is set, so that what is put back is Ray's own

    os.environ.update(wanted)
    switched, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = switched
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
