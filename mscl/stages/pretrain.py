"""Stage pretrain: manifest, stores and chosen clips -> checkpoints and loss curves."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.stages.base import Stage, StageRun


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {
        "pretrain": config.pretrain.model_dump(mode="json", exclude={"checkpoint_minutes", "keep_checkpoints"}),
        "clip": config.clip.model_dump(mode="json"),
    }


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.training.job import PretrainJob
    from mscl.training.launch import run_pretraining

    job = PretrainJob(
        extract_folder=str(run.input("extract")),
        manifest_path=str(run.input("ingest") / "manifest.parquet"),
        screen_path=str(run.input("screen") / "screen.parquet"),
        output_folder=str(run.folder),
        clip=run.config.clip,
        pretrain=run.config.pretrain,
        runtime=run.config.runtime,
    )
    result = run_pretraining(job, progress=run.progress)
    return {**result.metrics, "steps": result.steps, "checkpoint": result.checkpoint.relative_to(run.folder).as_posix()}


PRETRAIN = Stage(
    name="pretrain",
    version=1,
    needs=("ingest", "extract", "screen"),
    settings=_settings,
    run=_run,
    summary="Motion sensitive contrastive learning on the chosen clips, under torchrun.",
)
