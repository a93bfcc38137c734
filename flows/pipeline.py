"""The pipeline as Prefect flows: `full`, with a task per stage, and a flow of its own for each stage's deployment.

Nothing here computes: a flow resolves configuration and inputs, lets the pipeline's loop run each stage as a task, and
shows what it left. The workspace's files decide what is done; Prefect's result cache is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, cast

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.artifacts import publish_summary
from flows.background import in_background, submit
from flows.form import force_schema, inputs_schema, place_schema, until_schema
from flows.left_task_runs import end_left_task_runs
from flows.one_line_errors import shorten_user_errors
from flows.outcome_labels import label_run
from flows.parameters import resolve, with_sections
from flows.pools import check_pools
from flows.progress import ConsoleProgress, end_bar
from flows.run_names import changed, tell_apart
from flows.stage_tasks import execute_as_task, how, note_reuse
from flows.workspace_slots import workspace_slot
from mscl.config import ExperimentConfig
from mscl.pipeline import (
    BY_NAME,
    Outcome,
    latest_inputs,
    other_settings,
    run_pipeline,
    run_stage,
    stage_named,
    stages_until,
)
from mscl.pipeline.without_effect import idle_settings
from storage.workspace import Workspace

shorten_user_errors()


@flow(
    name="full",
    description="Videos in, encoder and scores out: every stage that is not done yet, in order.",
    persist_result=False,
    validate_parameters=False,  # `resolve` does it, with the preset's values in place
)
@with_sections(force=force_schema(), until=until_schema(), data_root=place_schema(), annotations=place_schema())
def full(
    *,
    preset: str = "demo",
    data_root: str = "",
    annotations: str = "",
    workspace: str = "workspace",
    force: list[str] | None = None,
    until: str = "",
    **sections: Any,
) -> dict[str, Outcome]:
    """From videos to a pre-trained encoder and its scores. In a section, names left out keep the preset's value.

    Args:
        data_root: Folder that holds the videos, as the worker sees it, or s3://bucket/folder and its like.
        annotations: File or folder with the dataset's lists; empty: looked for in and beside the videos' folder.
        workspace: Folder of all results; a relative path counts from where the deployment was made.
        force: Stages to compute again even where they are done.
        until: Last stage to run, with what it reads; empty: all.
    """
    config = resolve(preset, sections, data_root=data_root, annotations=annotations)
    stages = stages_until(until, force=force or [])
    place = Workspace(workspace)
    done: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        done[outcome.result.record.stage] = outcome
        if outcome.reused:
            note_reuse(outcome, config)

    with _working(place, config, preset=preset) as run_one:
        try:
            run_pipeline(place, config, stages=stages, force=force or [], run_one=run_one, on_outcome=note)
        except Exception:  # what is done is shown, whatever ended the run
            publish_summary(done, failed=next((stage.name for stage in stages if stage.name not in done), ""))
            raise
    publish_summary(done)
    return done


@cache
def stage_flow(name: str) -> Flow[..., Outcome]:
    """The flow of one stage, made when it is asked for: Prefect needs 0.1 s to describe its parameters as a form."""
    stage = stage_named(name)

    @flow(name=name, description=stage.summary, persist_result=False, validate_parameters=False)
    @with_sections(inputs=inputs_schema(stage), data_root=place_schema(), annotations=place_schema())
    def run(
        *,
        preset: str = "demo",
        data_root: str = "",
        annotations: str = "",
        workspace: str = "workspace",
        force: bool = False,
        inputs: dict[str, str] | None = None,
        **sections: Any,
    ) -> State[Outcome]:
        """One stage on its inputs. In a section, names left out keep the preset's value.

        Args:
            data_root: Folder that holds the videos, as the worker sees it, or s3://bucket/folder and its like.
            annotations: File or folder with the dataset's lists; empty: looked for in and beside the videos' folder.
            workspace: Folder of all results; a relative path counts from where the deployment was made.
            force: Compute again even where a finished result is there.
            inputs: Stage -> key of the result to read; for others the latest finished results that fit together, of
                the videos in data_root where there are such.
        """
        config = resolve(preset, sections, data_root=data_root, annotations=annotations)
        place = Workspace(workspace)
        with _working(place, config, preset=preset, stage=stage.name) as run_one:
            given = {stage_named(of).name: key for of, key in (inputs or {}).items() if key}
            found = latest_inputs(place, stage, given=given, config=config)
            for line in other_settings(config, place.lineage(*found.values())):
                get_run_logger().warning(line)
            outcome = run_stage(place, config, stage, found, force=force, run_one=run_one)
            if outcome.reused:
                note_reuse(outcome, config)
            submit(label_run, outcome)
        read = {name: Outcome(result, reused=True, seconds=0.0) for name, result in found.items()}
        publish_summary(read | {stage.name: outcome})
        return Completed(message=how(outcome), data=outcome)

    return cast("Flow[..., Outcome]", run)  # a call of it gives what the state holds


def __getattr__(name: str) -> Flow[..., Outcome]:
    """`flows.pipeline.extract`, the entry point of a stage's deployment: the flow of that stage."""
    if name not in BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return stage_flow(name)


@contextmanager
def _working(
    place: Workspace, config: ExperimentConfig, *, preset: str, stage: str = ""
) -> Iterator[Callable[..., Outcome]]:
    """In the workspace when it is this run's turn, with how it runs its stages; what the API is told goes beside."""
    check_pools(config)
    for line in idle_settings(config, list(changed(config, preset=preset))):
        get_run_logger().warning(line)
    try:
        with in_background():
            submit(tell_apart, place, config, preset=preset, stage=stage)
            submit(end_left_task_runs)
            with workspace_slot(place, limit=config.runtime.runs_per_workspace, say=_say):
                yield partial(execute_as_task, preset=preset)
    finally:
        end_bar()


def _say(message: str) -> None:
    ConsoleProgress().say(message)
    get_run_logger().info(message)
