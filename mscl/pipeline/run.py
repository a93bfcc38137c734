"""The one loop over stages; how a single stage is run is its caller's choice: here, or as a task of Prefect."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mscl.config import ExperimentConfig
from mscl.errors import UserError
from mscl.ingest.places import dataset_root
from mscl.pipeline.made_with import root_of
from mscl.pipeline.stages import BY_NAME, PIPELINE
from mscl.stage.contract import Outcome, Stage
from mscl.stage.execute import execute
from mscl.stage.latest import outdated
from storage.result_folder import Result
from storage.workspace import Workspace


class RunOne(Protocol):
    """How a stage that is not done is run: `execute`, bound to a progress, or something around it."""

    def __call__(
        self, stage: Stage, workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result], *, force: bool
    ) -> Outcome:
        """Run the stage."""


def run_pipeline(
    workspace: Workspace,
    config: ExperimentConfig,
    *,
    stages: Sequence[Stage] = PIPELINE,
    force: Sequence[str] = (),
    run_one: RunOne = execute,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> dict[str, Outcome]:
    """Every stage that is not done yet, in order; outcomes by the name of their stage.

    Args:
        stages: in an order in which each comes after those that it reads.
        force: names of stages to compute again although they are done.
        run_one: how each stage is run; by default in this process, and nobody watches.
        on_outcome: told of each stage as soon as it is done.

    Raises:
        UserError: a stage, or what is known to come after it, cannot work with these settings and results.
        StorageError: the workspace cannot be read or written.
    """
    outcomes: dict[str, Outcome] = {}
    for number, stage in enumerate(stages):
        results = {name: outcome.result for name, outcome in outcomes.items()}
        outcomes[stage.name] = run_stage(
            workspace, config, stage, results, later=stages[number + 1 :], force=stage.name in force, run_one=run_one
        )
        if on_outcome is not None:
            on_outcome(outcomes[stage.name])
    return outcomes


def done_so_far(
    workspace: Workspace, config: ExperimentConfig, *, stages: Sequence[Stage] = PIPELINE, force: Sequence[str] = ()
) -> dict[str, Result]:
    """Results of the stages before the first that `run_pipeline` would run; of all where there is nothing to do.

    Raises:
        UserError: as `run_pipeline`, where settings or data cannot be read.
    """
    done: dict[str, Result] = {}
    for stage in stages:
        found = None if stage.name in force else stage.find(workspace, config, stage.inputs(done))
        if found is None:
            break
        done[stage.name] = found
    return done


def reused(workspace: Workspace, done: Mapping[str, Result]) -> dict[str, Outcome]:
    """What `run_pipeline` returns of stages that are all done."""
    for result in done.values():
        workspace.touch(result)
    return {name: Outcome(result, reused=True, seconds=0.0) for name, result in done.items()}


def refuse_early(
    workspace: Workspace,
    config: ExperimentConfig,
    *,
    stages: Sequence[Stage] = PIPELINE,
    done: Mapping[str, Result] | None = None,
) -> None:
    """What `run_pipeline` would refuse at once, without running anything.

    Args:
        done: what `done_so_far` has found; None: it is asked.

    Raises:
        UserError: a stage that is not done cannot work with these settings and results.
    """
    if done is None:
        done = done_so_far(workspace, config, stages=stages)
    _ask(stages[len(done) :], config, done)


def _ask(stages: Sequence[Stage], config: ExperimentConfig, results: Mapping[str, Result]) -> None:
    for stage in stages:
        if stage.preflight is not None:
            stage.preflight(config, results)


def run_stage(
    workspace: Workspace,
    config: ExperimentConfig,
    stage: Stage,
    results: Mapping[str, Result],
    *,
    later: Sequence[Stage] = (),
    force: bool = False,
    run_one: RunOne = execute,
) -> Outcome:
    """One stage: reused if it is done; else run, unless it or a later one is known to fail.

    Args:
        results: by the name of their stage, at least those that the stage reads.
        later: whose preflight is asked, too: the stages that are to follow.

    Raises:
        UserError: an input is missing, or what a preflight has found.
    """
    started = time.monotonic()
    inputs = stage.inputs(results)
    done = None if force else stage.find(workspace, config, inputs)
    if done is not None:
        workspace.touch(done)
        return Outcome(done, reused=True, seconds=time.monotonic() - started)
    _ask((stage, *later), config, results)
    return run_one(stage, workspace, config, inputs, force=force)


def latest_inputs(
    workspace: Workspace, stage: Stage, *, given: Mapping[str, str], config: ExperimentConfig | None = None
) -> dict[str, Result]:
    """What `stage` reads, in the workspace: the given keys, else the latest finished results that fit together.

    Results of two datasets may lie in one workspace, so inputs are taken from one lineage: the latest result
    of the input furthest down the pipeline decides which results of the earlier stages are read.

    Args:
        given: name -> key, or its beginning; a name that is a stage's is that of the key's stage.
        config: where the workspace has results of the videos in its `data.root`, only those are read.

    Raises:
        StorageError: no finished result with a given key.
        UserError: given results that do not belong together, or one under the name of another stage; several datasets,
            none of them in `data.root`.
    """
    chosen: dict[str, Result] = {}
    for name, key in given.items():
        result = workspace.by_key(key)
        if name in BY_NAME and result.record.stage != name:
            raise UserError(f"{key} is given for {name}, and is a result of {result.record.stage}; give it as that")
        _adopt_given(chosen, workspace, result)
    root = "" if given or config is None or not stage.needs else _known_root(workspace, config)
    order = [earlier.name for earlier in reversed(PIPELINE) if earlier.name in stage.needs]
    for name in order:
        if name in chosen:
            continue
        fitting = [
            result
            for result in workspace.results(name)
            if _agrees(workspace, result, chosen) and (not root or root_of(workspace.lineage(result)) == root)
        ]
        if fitting:
            _adopt(chosen, workspace, fitting[-1])
    return {name: chosen[name] for name in stage.needs if name in chosen}


def _known_root(workspace: Workspace, config: ExperimentConfig) -> str:
    """`data.root`, where the workspace has results of the videos there; else empty: a single dataset may have moved.

    Raises:
        UserError: it has several datasets, none from there.
    """
    known = sorted({root_of([one]) for one in workspace.results("ingest")} - {""})
    root = str(dataset_root(config)) if config.data.root else ""
    if root and root not in known and len(known) > 1:
        raise UserError(
            f"data.root is {root}, and {workspace.root} has results of the videos in {', '.join(known)}; give one of "
            "these, or the key of a result to read"
        )
    return root if root in known else ""


def _adopt(chosen: dict[str, Result], workspace: Workspace, result: Result) -> None:
    for ancestor in workspace.lineage(result):
        chosen.setdefault(ancestor.record.stage, ancestor)


def _adopt_given(chosen: dict[str, Result], workspace: Workspace, result: Result) -> None:
    lineage = workspace.lineage(result)
    if said := outdated(lineage):
        raise UserError(said)
    for own in lineage:
        other = chosen.get(own.record.stage, own)
        if other.key != own.key:
            raise UserError(
                f"the given results are of two lineages: {own.record.stage} {other.key} of the first, {own.key} of "
                f"{result.record.stage} {result.key}; give results of one (`mscl lineage KEY`)"
            )
    _adopt(chosen, workspace, result)


def _agrees(workspace: Workspace, result: Result, chosen: Mapping[str, Result]) -> bool:
    lineage = workspace.lineage(result)
    return not outdated(lineage) and all(chosen.get(own.record.stage, own).key == own.key for own in lineage)
