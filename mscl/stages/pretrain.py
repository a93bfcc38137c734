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
    from mscl.training.pretrain import segments_to_train_on
    from storage.manifest import read_manifest
    from storage.screen_table import read_screen

    config = run.config.pretrain
    manifest_path, screen_path = run.input("ingest") / "manifest.parquet", run.input("screen") / "screen.parquet"
    segments, _ = segments_to_train_on(read_manifest(manifest_path).ok(), read_screen(screen_path))
    fitted = config.fitted_to(len(segments))
    if fitted != config:
        run.progress.say(
            f"{len(segments)} segments to train on are fewer than pretrain.batch_size {config.batch_size}: "
            f"batches of {fitted.batch_size}; the learning rate stays {config.optim.lr}"
        )
    job = PretrainJob(
        extract_folder=str(run.input("extract")),
        manifest_path=str(manifest_path),
        screen_path=str(screen_path),
        output_folder=str(run.folder),
        clip=run.config.clip,
        pretrain=fitted,
        runtime=run.config.runtime,
    )
    result = run_pretraining(job, progress=run.progress)
    return {
        **result.metrics,
        "steps": result.steps,
        "batch_size": fitted.batch_size,
        "checkpoint": result.checkpoint.relative_to(run.folder).as_posix(),
    }


PRETRAIN = Stage(
    name="pretrain",
    version=1,
    needs=("ingest", "extract", "screen"),
    settings=_settings,
    run=_run,
    summary="Motion sensitive contrastive learning on the chosen clips, under torchrun.",
)
