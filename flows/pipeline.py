"""The pipeline as Prefect flows: one flow per stage, and `full`, which runs them as subflows in DAG order.

Nothing here computes: a flow resolves configuration and inputs, calls the stage function, and shows what it left.
The workspace's files decide what is done; Prefect's result cache is off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import copy
from functools import partial, update_wrapper
from typing import Any

from prefect import Flow, flow, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TagsContext
from prefect.logging import get_run_logger
from prefect.task_engine import TaskRunTimeoutError

from flows.artifacts import publish_stage, publish_summary
from flows.background import beside, busy
from flows.client import one_client
from flows.heartbeats import end_at_once
from flows.progress import ArtifactProgress, Both, ConsoleProgress
from flows.runners import spread_for
from flows.settings import TAG
from flows.workspace_slots import workspace_slot
from mscl.config import (
    ClipConfig,
    DataConfig,
    EmbedConfig,
    ExperimentConfig,
    FinetuneConfig,
    FlowConfig,
    MotionConfig,
    PretrainConfig,
    ProbeConfig,
    RetrieveConfig,
    RuntimeConfig,
    ScreenConfig,
    build_config,
    load_config,
    merge_section,
)  # fmt: skip
from mscl.errors import UserError
from mscl.pipeline import BY_NAME, PIPELINE, Outcome, Stage, execute, latest_inputs, stage_named
from storage.workspace import Result, Workspace

end_at_once()  # here, for a run's own heart begins to beat before its flow is called


class StageTimeoutError(UserError):
    """A stage took longer than `runtime.timeout_minutes`."""


def compute(
    stage: Stage, workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result], force: bool
) -> Outcome:
    """Run one stage as a task, for as long as `runtime.timeout_minutes` allows.

    Raises:
        StageTimeoutError: it took longer, and was stopped.
    """
    minutes = config.runtime.timeout_minutes
    limited = _compute.with_options(timeout_seconds=60 * minutes) if minutes else _compute
    # Bound, for Prefect looks into every argument for what other tasks have made.
    work = partial(_execute, stage, workspace, config, inputs, force)
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


@task(name="compute", cache_policy=NO_CACHE, persist_result=False, task_run_name="{stage_name}")
def _compute(stage_name: str, work: Callable[[], Outcome]) -> Outcome:
    """What runs under the time-out; the name is for the run's page."""
    return work()


def _execute(
    stage: Stage, workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result], force: bool
) -> Outcome:
    """Run one stage function and publish what it left."""
    progress = Both([ConsoleProgress(), ArtifactProgress(stage.name)])
    spread = spread_for(config.runtime)
    busy()
    outcome = execute(stage, workspace, config, inputs, progress=progress, force=force, spread=spread)
    publish_stage(workspace, outcome)
    return outcome


def resolve(preset: str, sections: Mapping[str, Any]) -> ExperimentConfig:
    """The preset's configuration, changed where a section sets a name; names left out keep the preset's value.

    Whether values fit together is asked of the whole, so the flows leave it to this function: by itself a section
    would be held against the values that it leaves out, which are the preset's and not the class's.

    Args:
        sections: name -> section, or plain values as a deployment's run has them.
    """
    config = load_config(preset)
    tree = {name: merge_section(getattr(config, name), sections.get(name)) for name in ExperimentConfig.model_fields}
    changed = build_config(tree, source=f"{preset} with the run's parameters")
    spread_for(changed.runtime)  # refuses what is not installed, before anything runs
    return changed


def _stage_flow(stage: Stage, *, like: Flow[..., Outcome] | None = None) -> Flow[..., Outcome]:
    """The flow of one stage.

    Args:
        like: another stage's. All have the same parameters, and Prefect needs 0.1 s to describe them as a form.
    """

    def run(
        workspace: str = "workspace",
        preset: str = "demo",
        data: DataConfig | None = None,
        flow: FlowConfig | None = None,
        motion: MotionConfig | None = None,
        clip: ClipConfig | None = None,
        screen: ScreenConfig | None = None,
        pretrain: PretrainConfig | None = None,
        embed: EmbedConfig | None = None,
        probe: ProbeConfig | None = None,
        retrieve: RetrieveConfig | None = None,
        finetune: FinetuneConfig | None = None,
        runtime: RuntimeConfig | None = None,
        inputs: dict[str, str] | None = None,
        force: bool = False,
    ) -> Outcome:
        """One stage on its inputs. In a section, names left out keep the preset's value.

        Args:
            workspace: Folder of all results; a relative path counts from where the deployment was made.
            preset: Preset, or a YAML file that the worker can read.
            inputs: Stage -> key of the result to read; for others the latest finished results that fit together.
            force: Compute again even where a finished result is there.
        """
        config = resolve(preset, locals())
        place = Workspace(workspace)
        with workspace_slot(place, say=_say):
            found = latest_inputs(place, stage, given=inputs or {})
            outcome = compute(stage, place, config, found, force)
        if _is_alone():  # else the table of the whole run says it
            read = {name: Outcome(result, reused=True, seconds=0.0) for name, result in found.items()}
            publish_summary(read | {stage.name: outcome})
        return outcome

    run.__name__ = stage.name
    if like is None:
        return flow(
            name=stage.name, flow_run_name=stage.name, description=stage.summary, persist_result=False,
            validate_parameters=False,
        )(run)  # fmt: skip
    made = copy(like)
    update_wrapper(made, run)
    made.fn, made.name, made.flow_run_name, made.description = run, stage.name, stage.name, stage.summary
    return made


ingest = _stage_flow(BY_NAME["ingest"])
extract = _stage_flow(BY_NAME["extract"], like=ingest)
motion = _stage_flow(BY_NAME["motion"], like=ingest)
screen = _stage_flow(BY_NAME["screen"], like=ingest)
pretrain = _stage_flow(BY_NAME["pretrain"], like=ingest)
embed = _stage_flow(BY_NAME["embed"], like=ingest)
probe = _stage_flow(BY_NAME["probe"], like=ingest)
retrieve = _stage_flow(BY_NAME["retrieve"], like=ingest)
finetune = _stage_flow(BY_NAME["finetune"], like=ingest)
report = _stage_flow(BY_NAME["report"], like=ingest)

STAGE_FLOWS = {
    "ingest": ingest, "extract": extract, "motion": motion, "screen": screen, "pretrain": pretrain,
    "embed": embed, "probe": probe, "retrieve": retrieve, "finetune": finetune, "report": report,
}  # fmt: skip


@flow(
    name="full",
    flow_run_name="full-{preset}",
    description="Videos in, encoder and scores out: every stage that is not done yet, in order.",
    persist_result=False,
    validate_parameters=False,
)
def full(
    workspace: str = "workspace",
    preset: str = "demo",
    data: DataConfig | None = None,
    flow: FlowConfig | None = None,
    motion: MotionConfig | None = None,
    clip: ClipConfig | None = None,
    screen: ScreenConfig | None = None,
    pretrain: PretrainConfig | None = None,
    embed: EmbedConfig | None = None,
    probe: ProbeConfig | None = None,
    retrieve: RetrieveConfig | None = None,
    finetune: FinetuneConfig | None = None,
    runtime: RuntimeConfig | None = None,
    force: list[str] | None = None,
) -> dict[str, Outcome]:
    """From videos to a pre-trained encoder and its scores. In a section, names left out keep the preset's value.

    Args:
        workspace: Folder of all results; a relative path counts from where the deployment was made.
        preset: Preset, or a YAML file that the worker can read.
        force: Stages to compute again even where they are done.
    """
    config = resolve(preset, locals())
    for name in force or []:
        stage_named(name)
    sections = {name: getattr(config, name) for name in ExperimentConfig.model_fields}
    place = Workspace(workspace)
    outcomes: dict[str, Outcome] = {}
    # Subflows do not inherit the tags of their deployment's run, and the automation goes by them.
    with workspace_slot(place, say=_say), tags(TAG), one_client(), beside():
        for stage in PIPELINE:
            try:
                inputs = stage.inputs({name: outcome.result for name, outcome in outcomes.items()})
                forced = stage.name in (force or [])
                done = None if forced else _done(stage, place, config, inputs)
                outcomes[stage.name] = done or STAGE_FLOWS[stage.name](
                    workspace=workspace,
                    preset=preset,
                    **sections,
                    inputs={name: result.key for name, result in inputs.items()},
                    force=forced,
                )
            except Exception:
                publish_summary(outcomes, failed=stage.name)
                raise
    publish_summary(outcomes)
    return outcomes


def _done(stage: Stage, workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result]) -> Outcome | None:
    """The stage's outcome if it is done already: then no subflow is made, which would cost a second to say so."""
    started = time.monotonic()
    result = stage.find(workspace, config, inputs)
    if result is None:
        return None
    workspace.touch(result)
    get_run_logger().info(f"{stage.name} {result.key} is done already: {result.folder}")
    return Outcome(result, reused=True, seconds=time.monotonic() - started)


def _is_alone() -> bool:
    """Whether this run is no subflow of `full`."""
    context = FlowRunContext.get()
    return context is None or context.flow_run is None or context.flow_run.parent_task_run_id is None


def _say(message: str) -> None:
    ConsoleProgress().say(message)
    get_run_logger().info(message)
