"""Stage pretrain: manifest, stores and chosen clips -> checkpoints and loss curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mscl.config import EmbedConfig, ExperimentConfig
from mscl.display.blocks import Block
from mscl.extract.recorded import recorded_frames
from mscl.pretrain.preflight import preflight
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages
from mscl.video.frame_recipe import EncoderInput


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    if config.pretrain.encoder:
        from mscl.models.external_encoder import RANDOM, external_encoder_digest, kind_of, transformers_type

        given = config.pretrain.encoder
        name = given if given == RANDOM else Path(given).name
        kept = config.pretrain.model_dump(mode="json", include={"model", *({"seed"} if given == RANDOM else ())})
        # 2: torchvision's r3d_18 gets its own mean and deviation, where it had ImageNet's.
        # 3: the untrained control of a function has random weights, where it had those that the function loads, and
        # TimeSformer takes no places for times in clips of another number of frames than its own.
        again = {} if given == RANDOM else {"given": 2}
        if given != RANDOM and (kind_of(given) == "function" or transformers_type(given) == "timesformer"):
            again = {"given": 3}
        return {"pretrain": {"encoder": name, **kept}, "encoder_sha256": external_encoder_digest(given), **again}
    # `encoder` is empty where something is trained.
    pretrain = config.pretrain.key_values(leave_out=(*config.pretrain.no_result, "encoder"))
    settings: dict[str, Any] = {"pretrain": pretrain, "clip": config.clip.key_values()}
    if "released" in (config.pretrain.augment.routing, config.pretrain.loss.enqueue, config.pretrain.key_updates):
        settings["released"] = 2  # these options did something else before they did what the released code does
    return settings | ({"split": config.data.split} if config.data.split != 1 else {})


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.pretrain.job import PretrainJob, run_pretraining
    from mscl.pretrain.two_starts import segments_to_train_on
    from mscl.trackers.tracking import Tracking
    from mscl.training.epochs import steps_per_epoch
    from mscl.training.launch import processes_of
    from storage.layout import Screened
    from storage.manifest import read_manifest
    from storage.screen_table import read_screen
    from storage.splits import write_split

    config = run.config.pretrain
    if config.encoder:
        return _given(run)
    manifest_path = write_split(run.input("ingest"), run.config.data.split, run.folder / ".manifest.parquet")
    screen_path = Screened(run.input("screen")).table
    segments, _ = segments_to_train_on(read_manifest(manifest_path).ok(), read_screen(screen_path))
    runtime = run.config.runtime
    fitted = config.fitted_to(len(segments), processes=processes_of(runtime) * runtime.nodes)
    if fitted != config:
        run.progress.say(
            f"{len(segments)} segments to train on are fewer than pretrain.batch_size {config.batch_size}: "
            f"batches of {fitted.batch_size}; the learning rate stays {config.optim.lr}"
        )
    for line in (*fitted.without_effect(length=run.config.clip.length), fitted.own_keys_text(len(segments))):
        if line:
            run.progress.say(line)
    if len(segments) >= fitted.batch_size:  # else the training says what is missing
        run.progress.say(fitted.steps_text(steps_per_epoch(len(segments), fitted.batch_size)))
    job = PretrainJob(
        extract_folder=str(run.input("extract")),
        manifest_path=str(manifest_path),
        screen_path=str(screen_path),
        output_folder=str(run.folder),
        encoder_input=_encoder_input(run),
        pretrain=fitted,
        runtime=run.config.runtime,
        tracking=Tracking.of(run),
    )
    result = run_pretraining(job, progress=run.progress)
    return {
        **result.metrics,
        "steps": result.steps,
        "batch_size": fitted.batch_size,
        "checkpoint": result.checkpoint.relative_to(run.folder).as_posix(),
    }


def _encoder_input(run: StageRun) -> EncoderInput:
    """How the videos of this training are prepared: what decides its result, and no choice of a later `embed`."""
    recipe, segments = recorded_frames(run.inputs)
    plain = EmbedConfig(crop_px=run.config.pretrain.augment.crop_px)
    said = plain.encoder_input(recipe, run.config.clip, **segments)
    return said.model_copy(update={"of_training": True})


def _given(run: StageRun) -> dict[str, Any]:
    """No training: the encoder that the user gives, in the form in which one is exported.

    What its videos went through is what its own file says, if it does; how this run's do is said by `embed`.
    """
    from mscl.models.external_encoder import external_encoder
    from mscl.models.files import EXPORT_NAME, write_encoder
    from mscl.models.outside_encoder import OutsideEncoder

    config = run.config.pretrain
    encoder = external_encoder(config.encoder, model=config.model, seed=config.seed)
    settings = _settings(run.config)
    card = {"given": settings["pretrain"]["encoder"], "sha256": settings["encoder_sha256"]}
    run.progress.say(f"encoder taken from {config.encoder}: nothing is trained")
    model = None if isinstance(encoder, OutsideEncoder) else config.model
    path = write_encoder(encoder, model, run.folder / EXPORT_NAME, card=card)
    return {"given": settings["pretrain"]["encoder"], "checkpoint": path.name}


def _blocks(stages: Stages) -> list[Block]:
    from mscl.pretrain.blocks import pretrain_blocks

    return pretrain_blocks(stages)


def _headline(metrics: Mapping[str, Any]) -> str:
    if "given" in metrics:
        return f"encoder {metrics['given']}, not trained here"
    return f"loss {metrics['loss']:.4g} after {metrics['steps']:,} steps"


PRETRAIN = Stage(
    name="pretrain",
    version=1,
    needs=("ingest", "extract", "screen"),
    settings=_settings,
    run=_run,
    summary="Motion sensitive contrastive learning on the chosen clips, under torchrun.",
    headline=_headline,
    title="Pre-training",
    lead="Eight cross-entropies; dashed is what guessing would give.",
    blocks=_blocks,
    preflight=preflight,
    is_experiment=True,
)
