"""Stage probe: features -> accuracy of a classifier on them."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.score.scored_splits import Scored, split_settings
from mscl.stage.base import Stage, StageRun


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


PROBE = Stage(
    name="probe",
    version=2,
    needs=("ingest", "pretrain", "embed"),
    settings=_settings,
    run=_run,
    summary="Classifier on frozen features, with its controls and chance.",
)
