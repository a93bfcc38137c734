"""Stage finetune: frames and checkpoint -> a classifier trained end to end, and its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.errors import ConfigError
from mscl.extract.recorded import recorded_frames
from mscl.score.groups import group_settings
from mscl.score.preflight import check_test_videos
from mscl.score.scored_splits import ScoredSplits, split_settings
from mscl.stage.contract import Stage, StageRun
from mscl.stage.skipped import Skipped
from mscl.stage.view import Stages
from storage.result_folder import Result


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    if not config.finetune.enabled:
        return {"finetune": {"enabled": False}}
    settings = {"finetune": config.finetune.key_values()}
    return settings | split_settings(config, config.finetune.splits) | group_settings(config)


def _run(run: StageRun) -> dict[str, Any]:
    import shutil

    from mscl.finetune.every_frame import every_frame_recipe, store_every_frame
    from mscl.finetune.job import FinetuneJob, run_finetuning
    from mscl.finetune.scores import NOT_ASKED
    from mscl.pretrain.config import PretrainConfig
    from mscl.trackers.tracking import Tracking
    from storage.splits import write_split

    config = run.config.finetune
    if not config.enabled:
        return NOT_ASKED.as_record()
    scored = ScoredSplits.of(run, config.splits)
    if scored.reason:
        return scored.skipped(run, "finetune").as_record()
    pretrained = run.inputs["pretrain"]
    trained_with = PretrainConfig.model_validate(pretrained.record.config["pretrain"])
    start = config.initial == "pretrained"
    notes = scored.say_notes(run, pretrained=start)
    ingest = run.input("ingest")
    recipe, segments = recorded_frames(run.inputs)
    whole = config.frames_from == "video"
    if whole:
        recipe = every_frame_recipe(recipe, config.short_side_px)
    elif config.sampling == "segments" and recipe.num_indices(100) < 100:
        notes.append(
            f"clips show every {recipe.gap_frames}th frame and none of a video's last {recipe.span_frames}, which the "
            "store has not (finetune.frames_from=video has all)"
        )
        run.progress.say(notes[-1])
    if config.stride_frames:
        stride = recipe.stride(config.stride_frames, setting="finetune.stride_frames")
        config = config.model_copy(update={"stride": stride})
    test_input = config.test_input(recipe, **segments)
    frames_S = next(iter(scored.manifests.values())).column("num_frames").tolist()
    if said := test_input.too_short(frames_S):
        notes.append(said)
        run.progress.say(said)
    frames = store_every_frame(run, recipe) if whole else run.input("extract")
    manifests = {split: write_split(ingest, split, run.folder / f".split{split}.parquet") for split in scored.manifests}
    job = FinetuneJob(
        extract_folder=str(frames),
        manifest_path=str(next(iter(manifests.values()))),
        checkpoint=str(pretrained.folder / pretrained.record.metrics["checkpoint"]),
        output_folder=str(run.folder),
        finetune=config,
        model=trained_with.model,
        encoder_input=test_input,
        runtime=run.config.runtime,
        tracking=Tracking.of(run),
    )
    metrics = run_finetuning(job, manifests=manifests, grouping=scored.grouping, notes=notes, progress=run.progress)
    if whole:
        shutil.rmtree(frames)
    for path in manifests.values():
        if path.parent == run.folder:
            path.unlink()
    return metrics.as_record()


def _preflight(config: ExperimentConfig, results: Mapping[str, Result]) -> None:
    from mscl.trackers.named import refuse_missing
    from mscl.training.launch import check_precision, processes_of

    if config.finetune.enabled:
        refuse_missing(config.runtime.trackers)
        processes_of(config.runtime)  # refuses GPUs that are not there
        check_precision(config.finetune.precision, config.runtime, setting="finetune.precision")
        warmup, epochs = config.finetune.optim.warmup_epochs, config.finetune.epochs
        if warmup >= epochs:
            raise ConfigError(
                f"finetune.optim.warmup_epochs {warmup:g} must be below finetune.epochs {epochs}: the rate would never "
                "be what finetune.optim.lr says; lower the one or raise the other"
            )
        check_test_videos(config, results, splits=config.finetune.splits)


def _blocks(stages: Stages) -> list[Block]:
    from mscl.finetune.blocks import finetune_blocks

    return finetune_blocks(stages)


def _headline(metrics: Mapping[str, Any]) -> str:
    from mscl.finetune.scores import FinetuneMetrics
    from mscl.score.scores import percent

    found = FinetuneMetrics.read(metrics)
    return found.reason if isinstance(found, Skipped) else f"top-1 {percent(found.scores.top1.value)}"


FINETUNE = Stage(
    name="finetune",
    version=4,
    needs=("ingest", "extract", "pretrain"),
    settings=_settings,
    run=_run,
    summary="Supervised training of the pre-trained encoder and a classifier, under torchrun.",
    preflight=_preflight,
    headline=_headline,
    title="Fine-tuning",
    lead="Encoder and classifier trained together on the train split.",
    blocks=_blocks,
    is_experiment=True,
)
