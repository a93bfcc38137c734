"""The pipeline as Prefect flows: `full`, with a task per stage, and a flow of its own for each stage's deployment.

Nothing here computes: a flow resolves configuration and inputs, lets the pipeline's loop run each stage as a task, and
shows what it left. The workspace's files decide what is done; Prefect's result cache is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from prefect import Flow, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import TagsContext
from prefect.logging import get_run_logger
from prefect.task_engine import TaskRunTimeoutError

from flows.artifacts import publish_stage, publish_summary
from flows.background import in_background
from flows.parameters import resolve, with_sections
from flows.progress import ArtifactProgress, Both, ConsoleProgress
from flows.runners import spread_for
from flows.workspace_slots import workspace_slot
from mscl.config import ExperimentConfig
from mscl.errors import UserError
from mscl.pipeline import (
    BY_NAME,
    PIPELINE,
    Outcome,
    Stage,
    execute,
    latest_inputs,
    run_pipeline,
    run_stage,
    stage_named,
    stages_for,
)  # fmt: skip
from storage.workspace import Result, Workspace


class StageTimeoutError(UserError):
    """A stage took longer than `runtime.timeout_minutes`."""


@flow(
    name="full",
    flow_run_name="full-{preset}",
    description="Videos in, encoder and scores out: every stage that is not done yet, in order.",
    persist_result=False,
    validate_parameters=False,  # `resolve` does it, with the preset's values in place
)
@with_sections
def full(
    *,
    workspace: str = "workspace",
    preset: str = "demo",
    force: list[str] | None = None,
    until: str = "",
    **sections: Any,
) -> dict[str, Outcome]:
    """From videos to a pre-trained encoder and its scores. In a section, names left out keep the preset's value.

    Args:
        workspace: Folder of all results; a relative path counts from where the deployment was made.
        preset: Preset, or a YAML file that the worker can read.
        force: Stages to compute again even where they are done.
        until: Last stage to run, with what it reads; empty: all.
    """
    config = resolve(preset, sections)
    stages = stages_for(stage_named(until).name) if until else PIPELINE
    for name in force or []:
        stage_named(name)
    place = Workspace(workspace)
    done: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        done[outcome.result.record.stage] = outcome
        _tell_reuse(outcome)

    with _working(place, config):
        try:
            run_pipeline(
                place, config, stages=stages, force=force or [],
                execute=partial(_execute_as_task, preset=preset), on_outcome=note,
            )  # fmt: skip
        except Exception:
            publish_summary(done, failed=next(stage.name for stage in stages if stage.name not in done))
            raise
    publish_summary(done)
    return done


@cache
def stage_flow(name: str) -> Flow[..., Outcome]:
    """The flow of one stage, made when it is asked for: Prefect needs 0.1 s to describe its parameters as a form."""
    stage = stage_named(name)

    @flow(
        name=name, flow_run_name=name, description=stage.summary, persist_result=False, validate_parameters=False
    )  # fmt: skip
    @with_sections
    def run(
        *,
        workspace: str = "workspace",
        preset: str = "demo",
        inputs: dict[str, str] | None = None,
        force: bool = False,
        **sections: Any,
    ) -> Outcome:
        """One stage on its inputs. In a section, names left out keep the preset's value.

        Args:
            workspace: Folder of all results; a relative path counts from where the deployment was made.
            preset: Preset, or a YAML file that the worker can read.
            inputs: Stage -> key of the result to read; for others the latest finished results that fit together.
            force: Compute again even where a finished result is there.
        """
        config = resolve(preset, sections)
        place = Workspace(workspace)
        with _working(place, config):
            found = latest_inputs(place, stage, given=inputs or {})
            as_task = partial(_execute_as_task, preset=preset)
            outcome = run_stage(place, config, stage, found, force=force, execute=as_task)
            _tell_reuse(outcome)
        read = {name: Outcome(result, reused=True, seconds=0.0) for name, result in found.items()}
        publish_summary(read | {stage.name: outcome})
        return outcome

    return run


def __getattr__(name: str) -> Flow[..., Outcome]:
    """`flows.pipeline.extract`, the entry point of a stage's deployment: the flow of that stage."""
    if name not in BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return stage_flow(name)


@contextmanager
def _working(place: Workspace, config: ExperimentConfig) -> Iterator[None]:
    """In the workspace when it is this run's turn; what the API is told goes beside the work."""
    with workspace_slot(place, limit=config.runtime.runs_per_workspace, say=_say), in_background():
        yield


def _execute_as_task(
    stage: Stage,
    workspace: Workspace,
    config: ExperimentConfig,
    inputs: Mapping[str, Result],
    *,
    force: bool,
    preset: str = "",
) -> Outcome:
    """Run one stage as a task, for as long as `runtime.timeout_minutes` allows.

    Raises:
        StageTimeoutError: it took longer, and was stopped.
    """
    minutes = config.runtime.timeout_minutes
    limited = _stage_task.with_options(timeout_seconds=60 * minutes) if minutes else _stage_task
    # Bound, for Prefect looks into every argument for what other tasks have made.
    work = partial(_execute, stage, workspace, config, inputs, force, preset)
    try:
        # Called, not submitted: in a thread neither a time-out nor a cancellation would reach the child processes.
        # Without the run's tags: for each of a task run's, Prefect asks the server for a slot, 0.26 s a stage.
        with TagsContext(current_tags=set()):
            return limited(stage.name, work)
    except TaskRunTimeoutError as error:
        raise StageTimeoutError(
            f"{stage.name} took longer than runtime.timeout_minutes={minutes:g} and was stopped; "
            "what it has done is kept: run again to go on, with a higher limit if need be"
        ) from error


@task(name="stage", cache_policy=NO_CACHE, persist_result=False, task_run_name="{stage_name}")
def _stage_task(stage_name: str, work: Callable[[], Outcome]) -> Outcome:
    """What runs under the time-out; the name is for the run's page."""
    return work()


def _execute(
    stage: Stage, workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result], force: bool, preset: str
) -> Outcome:
    """Run one stage function and publish what it left."""
    progress = Both([ConsoleProgress(), ArtifactProgress(stage.name)])
    spread = spread_for(config.runtime)
    outcome = execute(stage, workspace, config, inputs, progress=progress, force=force, spread=spread, preset=preset)
    publish_stage(workspace, outcome)
    return outcome


def _tell_reuse(outcome: Outcome) -> None:
    if outcome.reused:
        record = outcome.result.record
        get_run_logger().info(f"{record.stage} {record.key} is done already: {outcome.result.folder}")


def _say(message: str) -> None:
    ConsoleProgress().say(message)
    get_run_logger().info(message)
