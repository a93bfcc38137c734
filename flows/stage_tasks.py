"""How a flow runs one stage: as a task, here or on another work pool, with its time-out, its retries and its pause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.flow_runs import pause_flow_run
from prefect.logging import get_run_logger
from prefect.runtime.flow_run import get_root_flow_run_id
from prefect.states import Completed
from prefect.task_engine import TaskRunTimeoutError

from flows.artifacts import publish_stage
from flows.pools import run_on_pool
from flows.progress import ArtifactProgress, Both, ConsoleProgress, LogProgress, end_bar
from flows.runners import spread_for
from mscl.config import ExperimentConfig
from mscl.display.blocks import Table
from mscl.errors import ConfigError, UserError
from mscl.pipeline import Outcome, Stage, execute, reads, reused_from_elsewhere
from mscl.report.results import Results
from mscl.stage.view import stage_view
from storage.result_folder import Result
from storage.workspace import Workspace

_WEEK_SECONDS = 7 * 86400
_PAUSE_POLL_SECONDS = 5


class StageTimeoutError(UserError):
    """A stage took longer than `runtime.timeout_minutes`."""


def execute_as_task(
    stage: Stage,
    workspace: Workspace,
    config: ExperimentConfig,
    inputs: Mapping[str, Result],
    *,
    force: bool,
    preset: str,
) -> Outcome:
    """Run one stage as a task, for as long as `runtime.timeout_minutes` allows, where `runtime.pools` says.

    Raises:
        StageTimeoutError: it took longer, and was stopped.
    """
    runtime = config.runtime
    if stage.name in runtime.pause_before:
        _pause(stage)
    if pool := runtime.pools.get(stage.name):
        end_bar()
        work = partial(run_on_pool, pool, stage, workspace, config, inputs, force=force, preset=preset)
    else:
        work = partial(_execute, stage, workspace, config, inputs, force, preset)
    limited = _stage_task.with_options(
        task_run_name=stage.name,
        timeout_seconds=60 * runtime.timeout_minutes or None,
        retries=runtime.retries,
        retry_delay_seconds=runtime.retry_delay_seconds,
        retry_condition_fn=_may_end_otherwise,
    )
    try:
        return _called(limited, work)
    except TaskRunTimeoutError as error:
        raise StageTimeoutError(
            f"{stage.name} took longer than runtime.timeout_minutes={runtime.timeout_minutes:g} and was stopped; "
            "what it has done is kept: run again to go on, with a higher limit if need be"
        ) from error


def note_reuse(outcome: Outcome, config: ExperimentConfig) -> None:
    """A task for a stage that was done already, so that the run's page has a line for each."""
    record = outcome.result.record
    get_run_logger().info(f"{record.stage} {record.key} is done already: {outcome.result.folder}")
    for line in reused_from_elsewhere(config, [outcome.result]):
        get_run_logger().warning(line)
    _called(_stage_task.with_options(task_run_name=record.stage), lambda: outcome)


def _called(stage_task: Any, work: Callable[[], Outcome]) -> Outcome:
    # Called, not submitted: in a thread neither a time-out nor a cancellation would reach the child processes.
    # Without the run's tags: for each of a task run's, Prefect asks the server for a slot, 0.26 s a stage.
    with TagsContext(current_tags=set()):
        outcome: Outcome = stage_task(work).result()
    return outcome


@task(name="stage", cache_policy=NO_CACHE, persist_result=False)
def _stage_task(work: Callable[[], Outcome]) -> State[Outcome]:
    """What runs under the time-out. `work` is bound: Prefect looks into every argument for what other tasks made."""
    outcome = work()
    return Completed(name="Reused" if outcome.reused else "Computed", message=how(outcome), data=outcome)


def how(outcome: Outcome) -> str:
    """`extract 1f2e3d4c computed in 12.3 s, 34.5 MB`."""
    record = outcome.result.record
    took = "reused" if outcome.reused else f"computed in {outcome.seconds:.1f} s"
    return f"{record.stage} {record.key} {took}, {record.size / 1e6:.1f} MB"


def _may_end_otherwise(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether a retry is worth it: settings that do not fit will not fit a minute later."""
    try:
        state.result()
    except ConfigError:
        return False
    except BaseException:
        return True
    return True


def _pause(stage: Stage) -> None:
    end_bar()
    get_run_logger().info(f"paused before {stage.name} (runtime.pause_before); Resume in the UI goes on")
    pause_flow_run(timeout=_WEEK_SECONDS, poll_interval=_PAUSE_POLL_SECONDS, key=f"before-{stage.name}")


def _execute(
    stage: Stage, workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result], force: bool, preset: str
) -> Outcome:
    """Run one stage function here, tell its story in the run's log, and publish what it left."""
    logger = get_run_logger()
    behind = reads(inputs, workspace.lineage(*inputs.values()))
    logger.info(f"{stage.name} begins: {f'reads {behind}' if behind else config.data.root}")
    artifact = ArtifactProgress(stage.name)
    progress = Both([ConsoleProgress(), LogProgress(logger), artifact])
    asked_by = get_root_flow_run_id() if force else ""  # of a stage on another pool the run that waits for it
    try:
        outcome = execute(
            stage, workspace, config, inputs, progress=progress, force=force, spread=spread_for(config.runtime),
            preset=preset, asked_by=asked_by,
        )  # fmt: skip
    except BaseException as error:
        artifact.fail(f"{type(error).__name__}: {error}".strip(": "))
        raise
    artifact.done()
    ConsoleProgress().start("Telling Prefect", None, "")  # until the next stage begins, or all is told
    logger.info(f"{how(outcome)}, in {outcome.result.folder}")
    _tell_what_came_out(stage, outcome, logger.info)
    if not outcome.reused:
        publish_stage(workspace, outcome)
    return outcome


def _tell_what_came_out(stage: Stage, outcome: Outcome, say: Callable[[str], None]) -> None:
    view = stage_view(outcome.result)
    say(f"{stage.name}: {stage.came_out(view.metrics)}")
    for table in Results.of({stage.name: view}).tables():
        if not isinstance(table, Table):
            continue
        for row in table.rows:
            cells = [f"{name} {cell}" for name, cell in zip(table.head[1:], row[1:], strict=False) if str(cell)]
            say(f"{table.caption}: {row[0]}: {', '.join(cells)}")
