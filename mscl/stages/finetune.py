"""Stage finetune: frames and checkpoint -> a classifier trained end to end, and its predictions."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.stages.base import Stage, StageRun


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    if not config.finetune.enabled:
        return {"finetune": {"enabled": False}}
    return {"finetune": config.finetune.model_dump(mode="json")}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.config import PretrainConfig
    from mscl.evaluation.finetune import FinetuneJob, run_finetuning
    from mscl.evaluation.labels import evaluable
    from storage.manifest import read_manifest

    if not run.config.finetune.enabled:
        return {"skipped": "finetune.enabled is false"}
    manifest_path = run.input("ingest") / "manifest.parquet"
    if reason := evaluable(read_manifest(manifest_path).ok()):
        run.progress.say(f"finetune skipped: {reason}")
        return {"skipped": reason}
    pretrained = run.inputs["pretrain"]
    trained_with = PretrainConfig.model_validate(pretrained.record.config["pretrain"])
    start = run.config.finetune.initial == "pretrained"
    job = FinetuneJob(
        extract_folder=str(run.input("extract")),
        manifest_path=str(manifest_path),
        checkpoint=str(pretrained.folder / pretrained.record.metrics["checkpoint"]) if start else "",
        output_folder=str(run.folder),
        finetune=run.config.finetune,
        model=trained_with.model,
        runtime=run.config.runtime,
    )
    return run_finetuning(job, progress=run.progress)


FINETUNE = Stage(
    name="finetune",
    version=1,
    needs=("ingest", "extract", "pretrain"),
    settings=_settings,
    run=_run,
    summary="Supervised training of the pre-trained encoder and a classifier, under torchrun.",
)
