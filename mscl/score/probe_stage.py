"""Stage probe: features -> accuracy of a classifier on them."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.score.scored_splits import Scored, split_settings
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"probe": config.probe.model_dump(mode="json"), **split_settings(config, config.probe.splits)}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.score.variants import probe_variants

    config = run.config.probe
    scored = Scored.of(run, config.splits)
    if scored.reason:
        return scored.skipped(run, "probe")
    notes = scored.told(run)
    return probe_variants(run.input("embed"), run.folder, manifests=scored.manifests, config=config, notes=notes)


def _blocks(stages: Stages) -> list[Block]:
    from mscl.score.blocks import probe_blocks

    return probe_blocks(stages)


PROBE = Stage(
    name="probe",
    version=2,
    needs=("ingest", "pretrain", "embed"),
    settings=_settings,
    run=_run,
    summary="Classifier on frozen features, with its controls and chance.",
    title="Probe",
    lead=(
        "A classifier on frozen features, one feature a video: logistic regression, regularised as cross-validation "
        "on the train split chose, or a vote of the nearest train videos."
    ),
    blocks=_blocks,
    is_experiment=True,
)
