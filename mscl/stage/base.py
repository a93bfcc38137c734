"""What every stage is: a name, what it reads, the settings that decide its result, and a function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.errors import ConfigError, UserError
from mscl.progress import Progress, Silent
from mscl.stage.pool import Spread, Tick, run_in_processes
from mscl.stage.view import Stages, StageView
from storage.atomic import disk_errors
from storage.record import result_key
from storage.workspace import Result, Workspace, clear

Task = TypeVar("Task")
Done = TypeVar("Done")


@dataclass(frozen=True)
class StageRun:
    """What a stage function works with."""

    folder: Path
    """Where its outputs go; may hold unfinished work of an earlier run of the same stage, settings and inputs."""
    config: ExperimentConfig
    inputs: Mapping[str, Result]
    progress: Progress
    digests: dict[str, str] = field(default_factory=dict)
    """Relative path -> sha256 of output files whose digest the stage knows already."""
    is_damaged: bool = False
    """The result was finished once and is no longer whole: what lies in `folder` cannot be trusted unseen."""
    spread: Spread | None = None
    """Where shards are worked on; None: processes of this machine."""

    def input(self, stage: str) -> Path:
        """Folder of an input result."""
        return self.inputs[stage].folder

    def over_workers(self, function: Callable[[Task, Tick], Done], tasks: Sequence[Task]) -> Iterator[Done]:
        """Results of `function(task, tick)` in the order in which workers finish them; ticks are progress."""
        spread = self.spread or partial(run_in_processes, workers=self.config.runtime.workers)
        return spread(function, tasks, progress=self.progress)


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline."""

    name: str
    version: int
    """Raise it when the code's results change: results of older versions are then not reused."""
    needs: tuple[str, ...]
    settings: Callable[[ExperimentConfig], dict[str, Any]]
    """The part of the configuration that decides the result, as plain JSON values."""
    run: Callable[[StageRun], dict[str, Any]]
    """Computes, writes into `folder`, returns metrics."""
    summary: str
    check: Callable[[ExperimentConfig, Mapping[str, Result]], None] | None = None
    """Raises before anything is computed where settings and inputs cannot lead to a result worth this stage."""
    mends: bool = False
    """Finds what of a damaged result can stay and makes just the rest again; other stages begin with nothing."""
    title: str = ""
    """Heading of what it has to show; empty: its name."""
    lead: str = ""
    """One or two sentences under the heading."""
    blocks: Callable[[Stages], list[Block]] | None = None
    """What it has to show, from the views of its lineage; None: its plain metrics. Its module is imported when called:
    listing the stages needs neither PyTorch nor matplotlib."""


@dataclass(frozen=True)
class Outcome:
    """A finished stage, and whether anything had to be computed for it."""

    result: Result
    reused: bool
    seconds: float


def execute(
    stage: Stage,
    workspace: Workspace,
    config: ExperimentConfig,
    inputs: Mapping[str, Result],
    *,
    progress: Progress | None = None,
    force: bool = False,
    spread: Spread | None = None,
) -> Outcome:
    """Run a stage, or find that it is done.

    A result is computed under the workspace's lock on it: of two runs of the same stage, settings and
    inputs one waits and then reuses. `force` computes it again. `spread` None: shards go to processes of this machine.

    Raises:
        UserError: an input is missing.
        StorageError: the disk is full, or refuses for another reason; what is stored already is kept.
        ConfigError: `runtime.task_runner` names a cluster, and nobody gave a way to it.
    """
    progress = progress or Silent()
    if spread is None and config.runtime.task_runner != "threads":
        raise ConfigError(
            f"runtime.task_runner is {config.runtime.task_runner!r}, and a cluster is reached through Prefect only; "
            "use `mscl run` without --no-prefect, or a deployment, or set runtime.task_runner to threads"
        )
    missing = [name for name in stage.needs if name not in inputs]
    if missing:
        raise UserError(
            f"stage {stage.name} reads {', '.join(stage.needs)}, and there is no finished result of "
            f"{', '.join(missing)}; run that first (`mscl run`, or `mscl stage {missing[0]}`)"
        )
    started = time.monotonic()
    used = {name: inputs[name] for name in stage.needs}
    keys = {name: result.key for name, result in used.items()}
    settings = stage.settings(config)
    key = result_key(stage.name, stage.version, settings, keys)
    with workspace.claim(stage.name, key, on_wait=progress.say) as folder:
        done = workspace.find(stage.name, key)
        if done is not None and not force:
            workspace.touch(done)
            return Outcome(done, reused=True, seconds=time.monotonic() - started)
        if stage.check is not None:
            stage.check(config, used)
        if done is not None:
            workspace.discard(stage.name, key)
            folder.mkdir(parents=True)
        elif workspace.known_damage(folder) and not stage.mends:
            clear(folder)
        with disk_errors(folder):
            was_finished = workspace.begin(stage.name, key, config=settings, inputs=keys)
            run = StageRun(folder, config, used, progress, is_damaged=was_finished, spread=spread)
            metrics = stage.run(run)
            seconds = time.monotonic() - started
            result = workspace.commit(
                stage.name, key, version=stage.version, config=settings, inputs=keys, metrics=metrics,
                timings={"seconds": round(seconds, 3)}, digests=run.digests,
            )  # fmt: skip
    return Outcome(result, reused=False, seconds=seconds)


def stage_view(result: Result) -> StageView:
    """A finished result as the plain data that figures and the report are made from."""
    record = result.record
    return StageView(
        stage=record.stage, key=record.key, folder=result.folder, config=record.config, inputs=record.inputs,
        metrics=record.metrics, timings=record.timings, size_bytes=record.size,
        created_at=record.created_at.isoformat(timespec="seconds"), versions=record.versions, host=record.host,
    )  # fmt: skip
