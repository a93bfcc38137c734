"""Stage embed: frames and checkpoint -> features of every video, of the trained encoder and its controls."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages
from storage.layout import Extracted, Ingested


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"embed": config.embed.model_dump(mode="json"), "clip": config.clip.model_dump(mode="json")}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.embedding.job import EmbedJob, run_embedding
    from mscl.pretrain.config import PretrainConfig

    pretrained = run.inputs["pretrain"]
    # The settings that made the checkpoint, not those of this run: a stage run alone may have been given others.
    trained_with = PretrainConfig.model_validate(pretrained.record.config["pretrain"])
    job = EmbedJob(
        checkpoint=str(pretrained.folder / pretrained.record.metrics["checkpoint"]),
        model=trained_with.model,
        seed=trained_with.seed,
        manifest_path=str(Ingested(run.input("ingest")).manifest_path),
        frame_store=str(Extracted(run.input("extract")).frames),
        output_folder=str(run.folder),
        clip=run.config.clip,
        embed=run.config.embed,
        runtime=run.config.runtime,
    )
    return run_embedding(job, progress=run.progress)


def _blocks(stages: Stages) -> list[Block]:
    from mscl.embedding.blocks import embed_blocks

    return embed_blocks(stages)


EMBED = Stage(
    name="embed",
    version=1,
    needs=("ingest", "extract", "pretrain"),
    settings=_settings,
    run=_run,
    summary="Features of every video: trained and untrained encoder, moving and frozen-frame clips.",
    title="Features",
    blocks=_blocks,
    is_experiment=True,
)
