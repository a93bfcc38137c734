"""Stage embed: frames and checkpoint -> features of every video, of the trained encoder and its controls."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.stages.base import Stage, StageRun


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"embed": config.embed.model_dump(mode="json"), "clip": config.clip.model_dump(mode="json")}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.config import PretrainConfig
    from mscl.evaluation.features import embed_variants
    from mscl.models import load_rgb_encoder, untrained_encoder
    from storage.manifest import read_manifest

    pretrained = run.inputs["pretrain"]
    # The settings that made the checkpoint, not those of this run: a stage run alone may have been given others.
    trained_with = PretrainConfig.model_validate(pretrained.record.config["pretrain"])
    encoders = {"trained": load_rgb_encoder(pretrained.folder / pretrained.record.metrics["checkpoint"])}
    if run.config.embed.controls:
        encoders["untrained"] = untrained_encoder(trained_with.model, seed=trained_with.seed)
    return embed_variants(
        encoders=encoders,
        manifest=read_manifest(run.input("ingest") / "manifest.parquet").ok(),
        frame_store=run.input("extract") / "frames",
        output=run.folder,
        clip=run.config.clip,
        config=run.config.embed,
        runtime=run.config.runtime,
        progress=run.progress,
    )


EMBED = Stage(
    name="embed",
    version=1,
    needs=("ingest", "extract", "pretrain"),
    settings=_settings,
    run=_run,
    summary="Features of every video: trained and untrained encoder, moving and frozen-frame clips.",
)
