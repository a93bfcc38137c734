"""The stages of the pipeline, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mscl.config import ExperimentConfig
from mscl.embedding.stage import EMBED
from mscl.errors import UserError
from mscl.extract.stage import EXTRACT
from mscl.finetune.stage import FINETUNE
from mscl.ingest.stage import INGEST
from mscl.motion.motion_stage import MOTION
from mscl.motion.screen_stage import SCREEN
from mscl.pipeline.preflight import check_lengths, check_training
from mscl.pretrain.stage import PRETRAIN
from mscl.progress import Progress
from mscl.report.stage import report_stage
from mscl.score.probe_stage import PROBE
from mscl.score.retrieve_stage import RETRIEVE
from mscl.stage.base import Outcome, Stage, StageRun, execute, stage_view
from storage.workspace import Result, Workspace

__all__ = [
    "BY_NAME", "PIPELINE", "Outcome", "Stage", "StageRun", "execute", "latest_inputs", "pipeline_inputs",
    "run_pipeline", "stage_named", "stage_view",
]  # fmt: skip

# What would stop a training is said before the expensive stages begin, by those that begin them.
_STAGES = (
    replace(INGEST, check=check_training),
    replace(EXTRACT, check=check_lengths),
    MOTION,
    SCREEN,
    PRETRAIN,
    EMBED,
    PROBE,
    RETRIEVE,
    FINETUNE,
)
PIPELINE: tuple[Stage, ...] = (*_STAGES, report_stage(_STAGES))
BY_NAME = {stage.name: stage for stage in PIPELINE}


def stage_named(name: str) -> Stage:
    """The stage of that name; UserError lists what there is."""
    if name not in BY_NAME:
        raise UserError(f"unknown stage {name!r}; stages: {', '.join(BY_NAME)}")
    return BY_NAME[name]


def run_pipeline(
    workspace: Workspace,
    config: ExperimentConfig,
    *,
    progress: Progress,
    force: Sequence[str] = (),
    on_outcome: Callable[[Outcome], None] | None = None,
) -> dict[str, Outcome]:
    """Every stage that is not done yet, in order, in this process."""
    outcomes: dict[str, Outcome] = {}
    for stage in PIPELINE:
        inputs = pipeline_inputs(stage, outcomes)
        outcomes[stage.name] = execute(stage, workspace, config, inputs, progress=progress, force=stage.name in force)
        if on_outcome is not None:
            on_outcome(outcomes[stage.name])
    return outcomes


def pipeline_inputs(stage: Stage, outcomes: Mapping[str, Outcome]) -> dict[str, Result]:
    """What `stage` reads, from the stages that already ran."""
    return {name: outcomes[name].result for name in stage.needs}


def latest_inputs(workspace: Workspace, stage: Stage, *, given: Mapping[str, str]) -> dict[str, Result]:
    """What `stage` reads, in the workspace: the given keys, else the latest finished results that fit together.

    Results of two datasets may lie in one workspace, so inputs are taken from one lineage: the latest result
    of the input furthest down the pipeline decides which results of the earlier stages are read.

    Raises:
        StorageError: no finished result with a given key.
        UserError: an input has no finished result.
    """
    chosen: dict[str, Result] = {}
    for key in given.values():
        _adopt(chosen, workspace, workspace.by_key(key))
    order = [earlier.name for earlier in reversed(PIPELINE) if earlier.name in stage.needs]
    for name in order:
        if name in chosen:
            continue
        fitting = [result for result in workspace.results(name) if _agrees(workspace, result, chosen)]
        if fitting:
            _adopt(chosen, workspace, fitting[-1])
    return {name: chosen[name] for name in stage.needs if name in chosen}


def _adopt(chosen: dict[str, Result], workspace: Workspace, result: Result) -> None:
    for ancestor in workspace.lineage(result):
        chosen.setdefault(ancestor.record.stage, ancestor)


def _agrees(workspace: Workspace, result: Result, chosen: Mapping[str, Result]) -> bool:
    return all(
        ancestor.record.stage not in chosen or chosen[ancestor.record.stage].key == ancestor.key
        for ancestor in workspace.lineage(result)
    )
