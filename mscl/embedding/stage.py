"""Stage embed: frames and checkpoint -> features of every video, of the trained encoder and its controls."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.extract.recorded import recorded_frames
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages
from storage.json_files import write_json
from storage.layout import Extracted, Ingested
from storage.result_folder import Result

ENCODER_INPUT = "encoder_input.json"
"""What the videos of the features went through."""


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"embed": config.embed.key_values(), "clip": config.clip.key_values()}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.embedding.job import EmbedJob, run_embedding
    from mscl.models.files import read_encoder
    from mscl.models.outside_encoder import ClipSettings, check_clip
    from mscl.pretrain.config import PretrainConfig

    for left in run.folder.glob("*.zarr") if run.is_damaged else ():
        shutil.rmtree(left)  # its metadata has no checksums but those of the record that is gone
    pretrained = run.inputs["pretrain"]
    # The settings that made the checkpoint, not those of this run: a stage run alone may have been given others.
    trained_with = PretrainConfig.model_validate(pretrained.record.config["pretrain"])
    checkpoint = pretrained.folder / pretrained.record.metrics["checkpoint"]
    recipe, segments = recorded_frames(run.inputs)
    clip = run.config.embed.clip(run.config.clip, recipe)
    encoder_input = run.config.embed.encoder_input(recipe, clip, **segments)
    write_json(run.folder / ENCODER_INPUT, encoder_input.model_dump(mode="json"))
    encoder = read_encoder(checkpoint, own_code=True).encoder
    check_clip(
        encoder, frames=clip.length, crop_px=run.config.embed.crop_px,
        settings=ClipSettings("clip.length", "embed.crop_px"),
    )  # fmt: skip
    known = encoder.input
    here, there = ("", "") if known is None else encoder_input.differing(known, trained=True)
    if here:
        run.progress.say(f"embedding with {here}; the encoder was trained with {there}")
    frames_S = Ingested(run.input("ingest")).manifest().ok().column("num_frames").tolist()
    if said := encoder_input.too_short(frames_S):
        run.progress.say(said)
    job = EmbedJob(
        checkpoint=str(checkpoint),
        seed=trained_with.seed,
        manifest_path=str(Ingested(run.input("ingest")).manifest_path),
        frame_store=str(Extracted(run.input("extract")).frames),
        output_folder=str(run.folder),
        clip=clip,
        embed=run.config.embed,
        runtime=run.config.runtime,
    )
    return run_embedding(job, progress=run.progress)


def _preflight(config: ExperimentConfig, _results: Mapping[str, Result]) -> None:
    from mscl.training.launch import processes_of

    processes_of(config.runtime)  # refuses GPUs that are not there


def _blocks(stages: Stages) -> list[Block]:
    from mscl.embedding.blocks import embed_blocks

    return embed_blocks(stages)


def _headline(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['videos']:,} segments, {metrics['feature_dim']} features each"


EMBED = Stage(
    name="embed",
    version=2,
    needs=("ingest", "extract", "pretrain"),
    settings=_settings,
    run=_run,
    summary="Features of every video: trained and untrained encoder, and clips without motion or order.",
    preflight=_preflight,
    headline=_headline,
    title="Features",
    blocks=_blocks,
    is_experiment=True,
)
