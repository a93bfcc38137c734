"""Stage retrieve: features -> nearest neighbours of the test videos among the train videos, and R@k."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.score.scored_splits import Scored, split_settings
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"retrieve": config.retrieve.model_dump(mode="json"), **split_settings(config, config.retrieve.splits)}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.score.variants import retrieve_variants

    config = run.config.retrieve
    scored = Scored.of(run, config.splits)
    if scored.reason:
        return scored.skipped(run, "retrieve")
    notes = scored.told(run)
    return retrieve_variants(run.input("embed"), run.folder, manifests=scored.manifests, config=config, notes=notes)


def _blocks(stages: Stages) -> list[Block]:
    from mscl.score.blocks import retrieve_blocks

    return retrieve_blocks(stages)


RETRIEVE = Stage(
    name="retrieve",
    version=2,
    needs=("ingest", "pretrain", "embed"),
    settings=_settings,
    run=_run,
    summary="Nearest neighbours of test videos among train videos: R@k, with its controls and chance.",
    title="Retrieval",
    lead="Test videos ask, train videos answer; features are centred and compared by cosine.",
    blocks=_blocks,
    is_experiment=True,
)
